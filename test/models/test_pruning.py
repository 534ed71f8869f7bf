# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Pruned models: as ONNX and as artifacts they give the same, zeros stay through quantization, and a trained model loses as little as it should."""
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import make_inputs
from test_examples import EXAMPLES
from test_quantization import FORMATS, SHAPES, session

import lathe

INPUTS, OUTPUTS = 128, 96
PATTERNS = {
    "half": ["--sparsity", "0.5"],
    "most": ["--sparsity", "0.9", "--scope", "global"],
    "groups": ["--pattern", "2:4"],
    "blocks": ["--pattern", "block:4x16", "--sparsity", "0.7"],
}


@pytest.mark.parametrize("name", ["bert", "llama", "vit"])
@pytest.mark.parametrize("pattern", PATTERNS)
def test_round_trip(name, pattern, lathe_tool, onnx_path, tmp_path):
    """What is written as ONNX is plain ONNX, and ONNX Runtime's results of it are those of the artifact."""
    source, plain, artifact = onnx_path(name), tmp_path / "p.onnx", tmp_path / "p.lathe"
    lathe_tool.ok("prune", source, "-o", plain, *PATTERNS[pattern])
    lathe_tool.ok("prune", source, "-o", artifact, *PATTERNS[pattern])
    onnx.checker.check_model(str(plain), full_check=True)
    reference, original, model = session(plain), session(source), lathe.load(artifact).session()
    for batch, sequence in SHAPES:
        if name == "vit":
            shape = [batch if isinstance(dim, str) else dim for dim in original.get_inputs()[0].shape]
            inputs = {original.get_inputs()[0].name: np.random.default_rng(batch).standard_normal(shape, np.float32)}
        else:
            inputs = make_inputs(name, batch, sequence, **({"past": 5} if name == "llama" else {}))
        outputs = model.run(inputs)
        for value, expected, dense in zip(reference.get_outputs(), reference.run(None, inputs), original.run(None, inputs)):
            scale = np.abs(expected).max()
            assert np.abs(outputs[value.name] - expected).max() <= 1e-4 * scale, f"{batch} x {sequence}: {value.name}"
            assert np.abs(expected - dense).max() > 1e-3 * scale, "nothing was pruned"


@pytest.fixture(scope="module")
def layer(tmp_path_factory):
    """y = x . weight, samples of x, and the identity, for which y is the weight."""
    folder = tmp_path_factory.mktemp("layer")
    random = np.random.default_rng(0)
    weight = random.normal(size=(INPUTS, OUTPUTS)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])] for name, size in (("x", INPUTS), ("y", OUTPUTS))]
    graph = helper.make_graph(nodes, "layer", *values, [numpy_helper.from_array(weight, "weight")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), folder / "layer.onnx")
    mix = random.normal(size=(40, INPUTS))
    np.savez(folder / "samples.npz", x=(random.normal(size=(600, 40)) @ mix).astype(np.float32))
    return folder / "layer.onnx", folder / "samples.npz"


def fields_of(flags):
    """Flags of lathe quantize as a step."""
    step, flags = {"step": "quantize"}, list(flags)
    while flags:
        name = flags.pop(0)[2:].replace("-", "_")
        if name == "asymmetric":
            step["symmetric"] = False
            continue
        value = flags.pop(0)
        if name == "mode" and value in ("log", "codebook"):
            name, value = "format", {"log": "log2"}.get(value, value)
        step[name] = int(value) if value.isdigit() else value
    return step


QUANTIZED = {
    **{name: fields_of(flags) for name, flags in FORMATS.items() if name not in ("codebook", "stages")},
    "codebook": {"step": "quantize", "format": "codebook", "bits": 4, "dimension": 1},
    "codebook-gptq": {"step": "quantize", "format": "codebook", "bits": 4, "dimension": 1, "method": "gptq", "stages": 2},
    "gptq": {"step": "quantize", "bits": 4, "group_size": 32, "method": "gptq"},
    "gptq-zeros": {"step": "quantize", "bits": 3, "group_size": 16, "method": "gptq", "symmetric": False, "act_order": False},
    "gptq-nf4": {"step": "quantize", "bits": 4, "format": "nf4", "group_size": 32, "method": "gptq", "double_quantization": True},
    "awq": {"step": "quantize", "bits": 4, "group_size": 32, "method": "awq", "symmetric": False},
    "smooth": {"step": "quantize", "mode": "dynamic", "smooth": 0.5, "bias_correction": True},
}


def compressed(lathe_tool, layer, steps, folder):
    """The weight that a recipe makes, as ONNX Runtime reads it, and the report."""
    model, samples = layer
    (folder / "recipe.json").write_text(json.dumps({"steps": steps}))
    lathe_tool.ok("compile", model, "-o", folder / "q.onnx", "--emit", "onnx", "--recipe", folder / "recipe.json", "--calib", samples, "--report", folder / "r.json")
    runtime = session(folder / "q.onnx")
    (got,) = runtime.run(None, {"x": np.eye(INPUTS, dtype=np.float32)})
    (offset,) = runtime.run(None, {"x": np.zeros((1, INPUTS), np.float32)})
    return got - offset, json.loads((folder / "r.json").read_text())["compression"]


PRUNE = {"step": "prune", "method": "sparsegpt"}


@pytest.fixture(scope="module")
def half(lathe_tool, layer, tmp_path_factory):
    """The weight, half of it zero."""
    weight, _ = compressed(lathe_tool, layer, [PRUNE], tmp_path_factory.mktemp("half"))
    assert (weight == 0).mean() == 0.5
    return weight


@pytest.mark.parametrize("name", QUANTIZED)
def test_zeros_stay_zero(name, half, lathe_tool, layer, tmp_path):
    """Whatever format and method come after a step that prunes; and the weights that stay are still quantized."""
    after, report = compressed(lathe_tool, layer, [PRUNE, QUANTIZED[name]], tmp_path)
    assert report["layers"][0].get("reason") is None
    # What a correction adds to outputs is not of the weight; it rounds with it.
    tolerance = 1e-6 if QUANTIZED[name].get("bias_correction") else 0
    assert np.abs(after[half == 0]).max() <= tolerance
    assert np.abs(after - half).max() > 1e-4


def test_codebooks_of_vectors(lathe_tool, layer, tmp_path):
    """They keep zeros that come in whole vectors, and leave weights that have others."""
    codebook = {"step": "quantize", "format": "codebook", "bits": 8, "dimension": 2}
    blocks = {"step": "prune", "pattern": "block:1x8"}
    before, _ = compressed(lathe_tool, layer, [blocks], tmp_path)
    after, report = compressed(lathe_tool, layer, [blocks, codebook], tmp_path)
    assert report["layers"][0].get("reason") is None and (after[before == 0] == 0).all()
    after, report = compressed(lathe_tool, layer, [{"step": "prune"}, codebook], tmp_path)
    assert "50.0 % of its weights are zero" in report["layers"][0]["reason"] and "dimension 1" in report["layers"][0]["reason"]
    assert (after == 0).mean() == 0.5


@pytest.fixture(scope="module")
def perplexity(lathe_tool, tmp_path_factory):
    """perplexity(*steps): of the trained Llama of the examples, its head dense, over 32 windows; calibrated by 32 others, taken in turn, as files differ."""
    model, folder = EXAMPLES / "text_generation" / "lm.onnx", tmp_path_factory.mktemp("lm")
    tokens = np.load(EXAMPLES / "text_generation" / "heldout.npy")
    windows = tokens[: len(tokens) // 256 * 256].reshape(-1, 256)
    np.save(folder / "judge.npy", windows[::2][:32].ravel())
    np.save(folder / "calib.npy", windows[1::2][:32].ravel())
    known = {}

    def of(*steps):
        key = json.dumps(steps)
        if key not in known:
            recipe, artifact = folder / "recipe.json", folder / "p.lathe"
            # Every layer, whatever the times of products are.
            recipe.write_text(json.dumps({"prefer": "size", "steps": [{**step, "exclude": ["*head*"]} for step in steps]}))
            lathe_tool.ok("compile", model, "-o", artifact, "--recipe", recipe, "--calib", folder / "calib.npy")
            known[key] = json.loads(lathe_tool.ok("perplexity", artifact, "--tokens", folder / "judge.npy", "--json"))["perplexity"]
        return known[key]

    return of


def pruned(method="magnitude", **fields):
    return {"step": "prune", "method": method, **fields}


def test_methods_and_patterns(perplexity):
    """At half of the weights SparseGPT loses less than Wanda, and that less than magnitude; fitting what stays is better still, and what is less free is worse."""
    magnitude, wanda, sparsegpt = (perplexity(pruned(method)) for method in ("magnitude", "wanda", "sparsegpt"))
    assert sparsegpt < wanda < magnitude
    assert perplexity(pruned("sparsegpt", refinements=10)) < sparsegpt
    assert sparsegpt < perplexity(pruned("sparsegpt", pattern="4:8")) < perplexity(pruned("sparsegpt", pattern="2:4"))


def test_pruned_and_quantized(perplexity):
    """4 bits after pruning cost little, by GPTQ less than by rounding."""
    half = pruned("sparsegpt")
    alone = perplexity(half)
    int4 = {"step": "quantize", "bits": 4, "group_size": 32}
    assert alone < perplexity(half, {**int4, "method": "gptq"}) < perplexity(half, int4) < 1.05 * alone
