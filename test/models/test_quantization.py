# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Quantized models: as ONNX in ONNX Runtime and as artifacts they give the same, and a trained model loses as little as it should."""
import json
import re

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import make_inputs
from tokenizer_support import ROOT
from tokenizers import Tokenizer

import lathe

FORMATS = {
    "int8": ["--bits", "8"],
    "int4": ["--bits", "4", "--group-size", "32"],
    "int4-zeros": ["--bits", "4", "--group-size", "16", "--asymmetric", "--scale-type", "f32"],
    "int3": ["--bits", "3", "--group-size", "32", "--method", "mse"],
    "int2": ["--bits", "2", "--group-size", "16"],
    "hqq": ["--bits", "4", "--group-size", "32", "--method", "hqq", "--scale-type", "f32"],
    "nf4": ["--format", "nf4", "--bits", "4", "--group-size", "32"],
    "mxfp4": ["--format", "mxfp4"],
    "fp8": ["--format", "fp8-e4m3"],
    "e5m2": ["--format", "fp8-e5m2", "--scale-type", "f32"],
    "log2": ["--mode", "log", "--bits", "4"],
    "apot": ["--format", "apot", "--bits", "5", "--group-size", "32"],
    "codebook": ["--mode", "codebook", "--bits", "8", "--dimension", "2"],
    "stages": ["--mode", "codebook", "--bits", "4", "--dimension", "4"],
    "dynamic": ["--mode", "dynamic"],
    "dynamic-fp8": ["--mode", "dynamic", "--format", "fp8-e4m3"],
    "dynamic-int4": ["--mode", "dynamic", "--bits", "4", "--group-size", "32"],
}
SHAPES = [(1, 1), (2, 7), (3, 33)]


def session(path):
    options = onnxruntime.SessionOptions()
    # Else its products of quantized weights round what they are multiplied with to 8 bits.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", FORMATS)
def test_round_trip(name, lathe_tool, onnx_path, tmp_path):
    """What is written as ONNX is plain ONNX, and ONNX Runtime's results of it are those of the artifact."""
    source, plain, artifact = onnx_path("bert"), tmp_path / "q.onnx", tmp_path / "q.lathe"
    lathe_tool.ok("quantize", source, "-o", plain, *FORMATS[name])
    lathe_tool.ok("quantize", source, "-o", artifact, *FORMATS[name])
    onnx.checker.check_model(str(plain), full_check=True)
    reference, model = session(plain), lathe.load(artifact).session()
    original = session(source)
    for batch, sequence in SHAPES:
        inputs = make_inputs("bert", batch, sequence, padded=True)
        outputs = model.run(inputs)
        for value, expected, dense in zip(reference.get_outputs(), reference.run(None, inputs), original.run(None, inputs)):
            got = outputs[value.name]
            assert got.shape == expected.shape
            if not got.size:
                continue
            scale = np.abs(expected).max()
            # A number that lies between two integers may become the one or the other.
            allowed = 2e-2 if "dynamic" in name else 1e-3
            assert np.abs(got - expected).max() <= allowed * scale, f"{batch} x {sequence}: {value.name}"
            assert np.abs(got - dense).max() > 1e-6 * scale, "nothing was quantized"


@pytest.mark.parametrize("name", ["gpt2", "llama", "roberta"])
def test_decoders_with_tables(name, lathe_tool, onnx_path, tmp_path):
    """Embeddings, tied ones too, are quantized, and rows of them looked up."""
    plain, artifact, report = tmp_path / "q.onnx", tmp_path / "q.lathe", tmp_path / "r.json"
    lathe_tool.ok("quantize", onnx_path(name), "-o", plain, "--bits", "4", "--group-size", "16")
    lathe_tool.ok("quantize", onnx_path(name), "-o", artifact, "--bits", "4", "--group-size", "16", "--report", report)
    layers = json.loads(report.read_text())["compression"]["layers"]
    assert any("table" in layer["kind"] for layer in layers)
    reference, model = session(plain), lathe.load(artifact).session()
    for batch, sequence in [*SHAPES, (2, 0)]:
        inputs = make_inputs(name, batch, sequence, *((5,) if name != "roberta" else ()))
        outputs = model.run(inputs)
        for value, expected in zip(reference.get_outputs(), reference.run(None, inputs)):
            np.testing.assert_allclose(outputs[value.name], expected, rtol=0, atol=1e-3 * np.abs(expected).max(initial=0), err_msg=value.name)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The trained Llama of the examples, its tokens to judge by, and others to calibrate with."""
    from test_examples import EXAMPLES

    folder = tmp_path_factory.mktemp("lm")
    tokens = np.load(EXAMPLES / "text_generation" / "heldout.npy")
    np.save(folder / "judge.npy", tokens[: 48 * 256])
    np.save(folder / "calib.npy", tokens[-64 * 256 :])
    return EXAMPLES / "text_generation" / "lm.onnx", folder


@pytest.fixture(scope="module")
def perplexity(lathe_tool, trained):
    model, folder = trained
    known = {}

    def of(*flags, source=model):
        key = (str(source), *flags)
        if key not in known:
            flags = [folder / "calib.npy" if flag == "CALIB" else flag for flag in flags]
            artifact = folder / "q.lathe"
            # Every layer, whatever the times of products are.
            command = ["quantize" if flags else "compile", source, "-o", artifact, *flags]
            lathe_tool.ok(*command, *(["--exclude", "*head*", "--prefer", "size"] if flags else []))
            known[key] = json.loads(lathe_tool.ok("perplexity", artifact, "--tokens", folder / "judge.npy", "--json"))["perplexity"]
        return known[key]

    return of


CALIBRATED = ("--calib", "CALIB")


def test_eight_bits(perplexity):
    dense = perplexity()
    assert perplexity("--bits", "8") == pytest.approx(dense, rel=1e-3)
    assert perplexity("--mode", "dynamic") == pytest.approx(dense, rel=5e-3)
    assert perplexity("--mode", "static", *CALIBRATED) == pytest.approx(dense, rel=1.5e-2)


def test_methods_beat_rounding(perplexity):
    """Over all held-out windows the best method loses a third of what rounding to nearest loses; fewer windows say it less surely."""
    dense = perplexity()
    for bits, share in (("4", 0.75), ("3", 0.5)):
        flags = ("--bits", bits, "--group-size", "32")
        rounded = perplexity(*flags)
        losses = {method: perplexity(*flags, "--method", method, *CALIBRATED) - dense for method in ("gptq", "awq", "mse")}
        assert max(losses.values()) < rounded - dense, losses
        assert min(losses.values()) <= share * (rounded - dense), losses


def test_codebooks(perplexity):
    """At equal bytes from 3 bits down: 8 bits for 4 weights are fewer than 2 bits in groups of 32."""
    assert perplexity("--mode", "codebook", "--bits", "8", "--dimension", "4", *CALIBRATED) < perplexity("--bits", "2", "--group-size", "32") / 2
    assert perplexity("--mode", "codebook", "--bits", "6", "--dimension", "2", "--group-size", "64", *CALIBRATED) < perplexity("--bits", "3", "--group-size", "32")


@pytest.fixture(scope="module")
def with_outliers(trained):
    """The trained model with four channels of each norm times 50 and the weights behind them over 50: the same function."""
    source, folder = trained
    model = onnx.load(source)
    channels = np.random.default_rng(0).choice(256, 4, replace=False)
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    # Weights are stored in f16 and widened.
    widened = {node.output[0]: node.input[0] for node in model.graph.node if node.op_type == "Cast"}
    changed = 0
    for name, gain in initializers.items():
        if not name.endswith("layernorm.weight"):
            continue
        norm = next(node for node in model.graph.node if name in node.input)
        products = [node for node in model.graph.node if norm.output[0] in node.input and node.op_type == "MatMul"]
        values = numpy_helper.to_array(gain).copy()
        values[channels] *= 50
        gain.CopyFrom(numpy_helper.from_array(values, name))
        for product in products:
            weight = initializers[widened.get(product.input[1], product.input[1])]
            values = numpy_helper.to_array(weight).copy()
            values[channels] /= 50
            weight.CopyFrom(numpy_helper.from_array(values, weight.name))
            changed += 1
    assert changed == 30
    path = folder / "outliers.onnx"
    onnx.save(model, path)
    return path


def test_outliers(perplexity, with_outliers):
    """Static activations of eight bits collapse; SmoothQuant's factors, a path for outliers and rotations recover what is lost."""
    dense = perplexity(source=with_outliers)
    assert dense == pytest.approx(perplexity(), rel=1e-2)
    assert perplexity("--mode", "static", *CALIBRATED, source=with_outliers) > 1.2 * dense
    assert perplexity("--mode", "static", "--smooth", "0.5", *CALIBRATED, source=with_outliers) < 1.01 * dense
    assert perplexity("--mode", "static", "--outliers", "8", *CALIBRATED, source=with_outliers) < 1.01 * dense
    assert perplexity("--mode", "static", "--rotate", *CALIBRATED, source=with_outliers) < 1.01 * dense


def test_sentence_embeddings(lathe_tool, onnx_path, minilm_folder, tmp_path):
    """MiniLM in eight bits, without activations and with them, on sentences of the documentation."""
    text = " ".join(path.read_text() for path in sorted((ROOT / "docs").rglob("*.md")))
    sentences = [sentence for sentence in re.findall(r"[A-Z][a-z][^.|`#*]{30,200}\.", text.replace("\n", " "))][:320]
    assert len(sentences) > 200
    tokenizer = Tokenizer.from_file(str(minilm_folder / "tokenizer.json"))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(128)
    reference = session(onnx_path("minilm"))
    batches = []
    for begin in range(0, len(sentences), 32):
        rows = tokenizer.encode_batch(sentences[begin : begin + 32])
        parts = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
        inputs = {name: np.array([getattr(row, part) for row in rows]) for name, part in parts.items()}
        batches.append((inputs, reference.run(["sentence_embedding"], inputs)[0]))
    for mode, least, mean in (("weight-only", 0.995, 0.999), ("dynamic", 0.99, 0.997)):
        artifact = tmp_path / "minilm.lathe"
        lathe_tool.ok("quantize", onnx_path("minilm"), "-o", artifact, "--mode", mode)
        model = lathe.load(artifact).session()
        cosines = []
        for inputs, expected in batches:
            got = model.run(inputs)["sentence_embedding"]
            cosines.extend((got * expected).sum(-1) / np.linalg.norm(got, axis=-1) / np.linalg.norm(expected, axis=-1))
        assert min(cosines) >= least and np.mean(cosines) >= mean, (mode, min(cosines), np.mean(cosines))


@pytest.mark.parametrize("zeros", [False, True])
def test_imported_codes_are_read_as_stored(zeros, lathe_tool, tmp_path):
    """MatMulNBits, several codes in a byte: one product, of 5 groups of 32 and 48 columns, and what NumPy computes."""
    random = np.random.default_rng(zeros)
    n, k, block = 48, 160, 32
    codes, points = random.integers(0, 16, (n, k)), random.integers(0, 16, (n, k // block))
    scales = random.random((n, k // block), dtype=np.float32)

    def pack(values):
        padded = np.pad(values, ((0, 0), (0, values.shape[1] % 2)))
        return (padded[:, 0::2] | padded[:, 1::2] << 4).astype(np.uint8)

    tensors = {"B": pack(codes).reshape(n, k // block, block // 2), "scales": scales.reshape(-1)}
    if zeros:
        tensors["points"] = pack(points).reshape(-1)
    node = helper.make_node("MatMulNBits", ["x", *tensors], ["y"], domain="com.microsoft", K=k, N=n, bits=4, block_size=block)
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["m", size])] for name, size in (("x", k), ("y", n))]
    graph = helper.make_graph([node], "g", *values, [numpy_helper.from_array(array, name) for name, array in tensors.items()])
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), tmp_path / "m.onnx")
    lathe_tool.ok("compile", tmp_path / "m.onnx", "-o", tmp_path / "m.lathe", "--report", tmp_path / "r.json")
    assert [kernel["kind"] for kernel in json.loads((tmp_path / "r.json").read_text())["kernels"]] == ["matmul"]
    weight = (codes - np.repeat(points if zeros else np.full_like(points, 8), block, 1)) * np.repeat(scales, block, 1)
    model = lathe.load(tmp_path / "m.lathe").session()
    for rows in (0, 1, 5, 40):
        x = random.standard_normal((rows, k), dtype=np.float32)
        np.testing.assert_allclose(model.run({"x": x})["y"], x @ weight.T, rtol=0, atol=1e-3)


@pytest.mark.parametrize("name", ["vit", "whisper"])
def test_convolutions(name, onnx_path, tmp_path):
    """Convolutions are products of windows, and read codes as others do: nothing of the model stays large."""
    report = tmp_path / "report.json"
    lathe.compile(onnx_path(name), tmp_path / "m.lathe", target="cpu:avx2", generate="off", int8=True, report=report)
    report = json.loads(report.read_text())
    layers = {layer["weight"]: layer for layer in report["compression"]["layers"]}
    convolutions = [layer for weight, layer in layers.items() if "projection" in weight or "conv" in weight]
    assert len(convolutions) == {"vit": 1, "whisper": 2}[name]
    assert all(layer["bits"] < 8.2 and "reason" not in layer for layer in convolutions)
    generated = {node for kernel in report["kernels"] if kernel["kind"] == "generated" for node in kernel["nodes"]}
    assert not generated & set(layers)


@pytest.mark.parametrize("axis, dense", [(0, ["weight"]), (1, [])])
def test_what_no_kernel_reads_is_reported(tmp_path, axis, dense):
    """Scales of outputs are the kernels'; those of single inputs are not, and the weight is made dense at each run."""
    random = np.random.default_rng(0)
    codes = random.integers(-127, 128, (64, 32)).astype(np.int8)
    scales = random.uniform(0.01, 0.02, (64, 32)[axis]).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["weight", "scales"], ["w"], "the_weight", axis=axis),
        helper.make_node("MatMul", ["x", "w"], ["y"], "the_matmul"),
    ]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])] for name, n in (("x", 64), ("y", 32))]
    graph = helper.make_graph(nodes, "g", *values, [numpy_helper.from_array(codes, "weight"), numpy_helper.from_array(scales, "scales")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    path = lathe.compile(tmp_path / "m.onnx", tmp_path / "m.lathe", target="cpu:avx2", report=tmp_path / "report.json")
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["decompressed"] == dense
    stored = {"weight": "weight", "inputs": 64, "outputs": 32, "values": "integer", "bits": 8, "storage": "codes", "imported": True}
    assert [{key: entry[key] for key in stored} for entry in report["stored"]] == ([] if dense else [stored])
    assert all(64 * 32 <= entry["bytes"] < entry["f32_bytes"] / 2 for entry in report["stored"])
    x = random.normal(size=(3, 64)).astype(np.float32)
    expected = x @ (codes * (scales[:, None] if axis == 0 else scales))
    np.testing.assert_allclose(lathe.load(path).session(threads=1).run({"x": x})["y"], expected, rtol=1e-4, atol=1e-4)
