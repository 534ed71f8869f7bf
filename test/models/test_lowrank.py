# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models of low rank: as ONNX in ONNX Runtime and as artifacts they give what the dense product of the factors gives."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import make_inputs

import lathe

SHAPES = [(1, 1), (2, 7), (3, 33)]


def session(path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def compare(name, plain, artifact, dense, shapes, *past):
    reference, model, original = session(plain), lathe.load(artifact).session(), session(dense)
    for batch, sequence in shapes:
        inputs = make_inputs(name, batch, sequence, *past)
        outputs = model.run(inputs)
        for value, expected, whole in zip(reference.get_outputs(), reference.run(None, inputs), original.run(None, inputs)):
            got, scale = outputs[value.name], np.abs(expected).max(initial=0)
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, rtol=0, atol=1e-3 * scale, err_msg=f"{batch} x {sequence}: {value.name}")
            assert not got.size or value.name != reference.get_outputs()[0].name or np.abs(got - whole).max() > 1e-5 * scale


@pytest.mark.parametrize("name", ["bert", "bert_legacy", "gpt2", "llama", "roberta"])
def test_round_trip(name, lathe_tool, onnx_path, tmp_path):
    """Linear layers, embeddings and tied heads."""
    source, plain, artifact, report = onnx_path(name), tmp_path / "l.onnx", tmp_path / "l.lathe", tmp_path / "r.json"
    lathe_tool.ok("lowrank", source, "-o", plain, "--ratio", "0.3")
    lathe_tool.ok("lowrank", source, "-o", artifact, "--ratio", "0.3", "--report", report)
    onnx.checker.check_model(str(plain), full_check=True)
    compression = json.loads(report.read_text())["compression"]
    done = [layer for layer in compression["layers"] if "rank" in layer]
    assert len(done) >= 10 and all(layer["ratio"] >= 0.3 for layer in done)
    assert name not in ("gpt2", "llama", "roberta", "bert") or any("table" in layer["kind"] for layer in done)
    shapes = SHAPES + ([(2, 0)] if name in ("gpt2", "llama") else [])
    compare(name, plain, artifact, source, shapes, *((5,) if name in ("gpt2", "llama") else ()))


def test_factors_are_the_dense_weight(lathe_tool, onnx_path, tmp_path):
    """The artifact computes what the model does whose weights are the products of the factors."""
    source, factored, dense, artifact = onnx_path("bert"), tmp_path / "l.onnx", tmp_path / "d.onnx", tmp_path / "l.lathe"
    flags = ["--rank", "9", "--tensors", "val_*"]
    report = tmp_path / "r.json"
    lathe_tool.ok("lowrank", source, "-o", factored, *flags)
    lathe_tool.ok("lowrank", source, "-o", artifact, *flags, "--report", report)
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(factored).graph.initializer}
    model = onnx.load(source)
    replaced = 0
    for tensor in model.graph.initializer:
        if tensor.name + ".u" not in values:
            continue
        u, v, weight = values[tensor.name + ".u"], values[tensor.name + ".v"], numpy_helper.to_array(tensor)
        product = u @ v if u.shape[0] == weight.shape[0] and v.shape[1] == weight.shape[1] else v @ u
        assert product.shape == weight.shape and min(u.shape) == 9
        assert np.linalg.matrix_rank(product) == 9 and 0 < np.abs(product - weight).max()
        tensor.CopyFrom(numpy_helper.from_array(product.astype(np.float32), tensor.name))
        replaced += 1
    assert replaced == sum("rank" in layer for layer in json.loads(report.read_text())["compression"]["layers"]) > 0
    onnx.save(model, dense)
    inputs = make_inputs("bert", 2, 9, padded=True)
    outputs, expected = lathe.load(artifact).session().run(inputs), session(dense)
    for value, reference in zip(expected.get_outputs(), expected.run(None, inputs)):
        np.testing.assert_allclose(outputs[value.name], reference, rtol=0, atol=1e-4 * np.abs(reference).max())


@pytest.mark.parametrize(
    "steps",
    [
        [{"step": "lowrank", "ratio": 0.3}, {"step": "quantize", "bits": 4, "group_size": 16}],
        [{"step": "lowrank", "energy": 0.8}, {"step": "quantize", "bits": 8, "mode": "dynamic"}],
        [{"step": "lowrank", "rank": 5, "residual": True}, {"step": "quantize", "bits": 4, "group_size": 16, "tensors": ["*.r"]}],
        [{"step": "rotate"}, {"step": "lowrank", "rank": 20, "exclude": ["*embed*"]}, {"step": "quantize", "bits": 8}],
    ],
)
def test_combined(steps, lathe_tool, onnx_path, tmp_path):
    source, plain, artifact, recipe = onnx_path("llama"), tmp_path / "l.onnx", tmp_path / "l.lathe", tmp_path / "r.json"
    recipe.write_text(json.dumps({"steps": steps}))
    lathe_tool.ok("compile", source, "-o", artifact, "--recipe", recipe)
    lathe_tool.ok("compile", source, "-o", plain, "--recipe", recipe, "--emit", "onnx")
    onnx.checker.check_model(str(plain), full_check=True)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    reference = onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    model = lathe.load(artifact).session()
    for batch, sequence in SHAPES:
        inputs = make_inputs("llama", batch, sequence, 5)
        outputs = model.run(inputs)
        for value, expected in zip(reference.get_outputs(), reference.run(None, inputs)):
            allowed = (2e-2 if any(step.get("mode") == "dynamic" for step in steps) else 1e-3) * np.abs(expected).max()
            np.testing.assert_allclose(outputs[value.name], expected, rtol=0, atol=allowed, err_msg=value.name)


def test_sixteen_bits(lathe_tool, tmp_path):
    """Factors of a weight that is stored in 16 bits are, too."""
    weight = np.random.default_rng(0).normal(size=(40, 60)).astype(np.float16)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT16, ["batch", n])] for name, n in (("x", 40), ("y", 60))]
    graph = helper.make_graph(nodes, "half", *values, [numpy_helper.from_array(weight, "w")])
    source, artifact, report = tmp_path / "m.onnx", tmp_path / "m.lathe", tmp_path / "r.json"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    lathe_tool.ok("lowrank", source, "-o", artifact, "--rank", "12", "--report", report)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    assert layer["bytes_before"] == 40 * 60 * 2 and layer["bytes_after"] == 12 * 100 * 2
    p, squares, q = np.linalg.svd(weight.astype(np.float64), full_matrices=False)
    dense = (p[:, :12] * squares[:12]) @ q[:12]
    x = np.random.default_rng(1).normal(size=(5, 40)).astype(np.float16)
    np.testing.assert_allclose(lathe.load(artifact).session().run({"x": x})["y"], x @ dense, rtol=0, atol=3e-2)


def test_a_single_row_of_a_table(lathe_tool, tmp_path):
    """What can't read factors keeps its weight, with the reason."""
    table = np.random.default_rng(0).normal(size=(30, 20)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "i"], ["y"], name="lookup")],
        "row",
        [helper.make_tensor_value_info("i", TensorProto.INT64, [])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [20])],
        [numpy_helper.from_array(table, "table")],
    )
    source, artifact, report = tmp_path / "m.onnx", tmp_path / "m.lathe", tmp_path / "r.json"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), source)
    lathe_tool.ok("lowrank", source, "-o", artifact, "--rank", "3", "--report", report)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    assert "single row" in layer["reason"]
    np.testing.assert_array_equal(lathe.load(artifact).session().run({"i": np.array(4)})["y"], table[4])


@pytest.fixture(scope="module")
def perplexity(lathe_tool, tmp_path_factory):
    """Of the trained Llama of the examples, over a part of its held-out tokens."""
    from test_examples import EXAMPLES

    folder = tmp_path_factory.mktemp("lm")
    tokens = np.load(EXAMPLES / "text_generation" / "heldout.npy")
    np.save(folder / "judge.npy", tokens[: 48 * 256])
    np.save(folder / "calib.npy", tokens[-64 * 256 :])

    def of(method, *flags):
        artifact = folder / "l.lathe"
        data = () if method == "svd" else ("--calib", folder / "calib.npy")
        lathe_tool.ok("lowrank", EXAMPLES / "text_generation" / "lm.onnx", "-o", artifact, "--method", method, *flags, *data, "--exclude", "*head*", "--target", "cpu:avx2")
        return json.loads(lathe_tool.ok("perplexity", artifact, "--tokens", folder / "judge.npy", "--json"))["perplexity"]

    return of


def test_methods_by_perplexity(perplexity):
    """What looks at outputs loses less than what looks at magnitudes, and that less than what looks at weights alone."""
    plain, scaled, whitened = (perplexity(method, "--ratio", "0.2") for method in ("svd", "asvd", "svd-llm"))
    assert whitened < scaled < plain
    assert perplexity("svd-llm", "--ratio", "0.2", "--allocation", "auto") < whitened
