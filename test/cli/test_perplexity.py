# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe perplexity: the figures against ONNX Runtime's own, comparisons of artifacts, and failures."""
import json
import math

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_support import USAGE, check_failure
from onnx import TensorProto, helper, numpy_helper

VOCABULARY = 997
CONTEXT = 24


@pytest.fixture(scope="session")
def text():
    return np.random.default_rng(0).integers(1, VOCABULARY, 10 * CONTEXT + 7)


@pytest.fixture(scope="session")
def tokens(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("tokens") / "ids.npy"
    np.save(path, text.astype(np.uint16))
    return path


@pytest.fixture(scope="session")
def perplexity(lathe_tool):
    def run(*arguments):
        return json.loads(lathe_tool.ok("perplexity", *arguments, "--json"))

    return run


def feed(session, ids):
    """Inputs of a decoder that sees these tokens and nothing before them."""
    arrays = {}
    for value in session.get_inputs():
        if value.type == "tensor(float)":
            arrays[value.name] = np.zeros([1 if dim == "batch" else 0 if isinstance(dim, str) else dim for dim in value.shape], np.float32)
        elif "mask" in value.name:
            arrays[value.name] = np.ones_like(ids[None])
        else:
            arrays[value.name] = ids[None] if value.name == "input_ids" else np.arange(len(ids))[None]
    return arrays


@pytest.fixture(scope="session")
def expected(text):
    """What ONNX Runtime computes: expected(path, context, stride) has a token's place and log-probabilities for each prediction."""

    def compute(path, context, stride):
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        rows, done = [], 0
        for begin in range(0, len(text), stride):
            ids = text[begin : begin + context].astype(np.int64)
            logits = session.run(None, feed(session, ids))[0][0].astype(np.float64)
            logits -= logits.max(-1, keepdims=True)
            logs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
            rows += [(token, logs[token - begin - 1]) for token in range(max(done, begin + 1), begin + len(ids))]
            done = begin + len(ids)
            if done >= len(text):
                break
        return rows

    return compute


@pytest.fixture(scope="session")
def bigrams(lathe_tool, tmp_path_factory):
    """A model that reads tokens alone and looks at one of them: its ONNX file and its artifact, which has no step."""
    path = tmp_path_factory.mktemp("bigrams") / "bigrams.onnx"
    table = np.random.default_rng(1).standard_normal((VOCABULARY, VOCABULARY)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["logits"])]
    inputs = [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", "sequence", VOCABULARY])]
    graph = helper.make_graph(nodes, "bigrams", inputs, outputs, [numpy_helper.from_array(table, "table")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    lathe_tool.ok("compile", path, "-o", path.with_suffix(".lathe"), "--generate", "off")
    return path, path.with_suffix(".lathe")


def mean_nll(rows, text):
    return -float(np.mean([row[text[token]] for token, row in rows]))


@pytest.mark.parametrize("model", ["llama", "llama_nocache", "gpt2_nocache", "bigrams"])
@pytest.mark.parametrize("stride", [CONTEXT, 7])
def test_equals_onnx_runtime(perplexity, artifact, onnx_path, bigrams, expected, text, tokens, model, stride):
    path, compiled = bigrams if model == "bigrams" else (onnx_path(model), artifact(model, "--generate", "on"))
    report = perplexity(compiled, "--tokens", tokens, "--context", CONTEXT, "--stride", stride)
    rows = expected(path, CONTEXT, stride)
    assert report["program"] == ("main" if model == "bigrams" else "step")
    assert report["tokens"] == len(rows)
    assert report["nll"] == pytest.approx(mean_nll(rows, text), rel=1e-5)
    assert report["perplexity"] == pytest.approx(math.exp(mean_nll(rows, text)), rel=1e-3)
    assert report["perplexity_confidence_95"][0] < report["perplexity"] < report["perplexity_confidence_95"][1]


def test_types_windows_and_threads(perplexity, artifact, text, tokens, tmp_path):
    model = artifact("llama_nocache", "--generate", "on")
    first = perplexity(model, "--tokens", tokens, "--context", CONTEXT, "--windows", "2")
    assert first["windows"] == 2 and first["tokens"] == 2 * (CONTEXT - 1)
    for kind in (np.int32, np.int64):
        path = tmp_path / "ids.npy"
        np.save(path, text[: 2 * CONTEXT].astype(kind))
        again = perplexity(model, "--tokens", path, "--context", CONTEXT, "--threads", "1")
        assert again["nll"] == pytest.approx(first["nll"], rel=1e-6)


def test_divergence(perplexity, lathe_tool, artifact, onnx_path, expected, tokens, tmp_path):
    model, other = artifact("llama_nocache", "--generate", "on"), artifact("gpt2_nocache", "--generate", "on")
    base = tmp_path / "base.logs"
    flags = ("--tokens", tokens, "--context", CONTEXT)
    own = perplexity(model, *flags, "--kl-divergence-base", base)
    same = perplexity(model, "--kl-divergence", base)
    assert same["tokens"] == own["tokens"] and same["base_perplexity"] == pytest.approx(own["perplexity"], rel=1e-4)
    assert abs(same["kl_divergence"]) < 1e-6 and same["top1_agreement"] == 1
    direct = perplexity(other, *flags, "--kl-divergence-with", model)
    filed = perplexity(other, "--kl-divergence", base)
    assert filed["kl_divergence"] == pytest.approx(direct["kl_divergence"], rel=1e-3, abs=1e-6)
    assert filed["kl_divergence_max"] == pytest.approx(direct["kl_divergence_max"], rel=1e-2, abs=1e-5)
    pairs = zip(expected(onnx_path("llama_nocache"), CONTEXT, CONTEXT), expected(onnx_path("gpt2_nocache"), CONTEXT, CONTEXT))
    divergences, agreements = zip(*[((np.exp(p) * (p - q)).sum(), p.argmax() == q.argmax()) for (_, p), (_, q) in pairs])
    assert direct["kl_divergence"] == pytest.approx(np.mean(divergences), rel=1e-4)
    assert direct["kl_divergence_max"] == pytest.approx(max(divergences), rel=1e-4)
    assert direct["top1_agreement"] == pytest.approx(np.mean(agreements), abs=1e-9)
    size = base.stat().st_size
    assert size == 40 + 4 * (10 * CONTEXT + 7) + own["tokens"] * (8 + 2 * VOCABULARY), "docs/generation.md gives this size"
    truncated = tmp_path / "truncated.logs"
    truncated.write_bytes(base.read_bytes()[:-1])
    check_failure(lathe_tool("perplexity", model, "--kl-divergence", truncated), USAGE, "truncated.logs")
    check_failure(lathe_tool("perplexity", model, "--kl-divergence", tokens), USAGE, "holds no log-probabilities")


def test_failures(lathe_tool, artifact, linear_artifact, tokens, tmp_path):
    model = artifact("llama_nocache", "--generate", "on")
    check_failure(lathe_tool("perplexity", model), USAGE, "--tokens", "--text")
    check_failure(lathe_tool("perplexity", model, "--text", tokens), USAGE, "--tokenizer")
    check_failure(lathe_tool("perplexity", model, "--tokens", tokens, "--context", "8", "--stride", "9"), USAGE, "--stride")
    check_failure(lathe_tool("perplexity", linear_artifact, "--tokens", tokens), USAGE, "--generate")
    path = tmp_path / "ids.npy"
    np.save(path, np.array([1, VOCABULARY]))
    check_failure(lathe_tool("perplexity", model, "--tokens", path), USAGE, f"token {VOCABULARY}", "vocabulary")
    np.save(path, np.array([1]))
    check_failure(lathe_tool("perplexity", model, "--tokens", path), USAGE, "two tokens")
    np.save(path, np.array([1.5, 2]))
    check_failure(lathe_tool("perplexity", model, "--tokens", path), USAGE, "integers")
