# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Steps of recipes that change weights and keep the function: rotations of residual streams, scales between layers; and what takes errors back."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from export.inputs import SIZES
from onnx import helper, numpy_helper
from test_onnx_export import make_inputs, onnx_session, run

import lathe

# Of the largest value of an output.
EXACT = 1e-5
NORMS = {"LayerNormalization": [1, 2], "RMSNormalization": [1], "SimplifiedLayerNormalization": [1]}


def vary(source, target):
    """Exported fixtures are not trained: all gains are one initializer of ones, all biases one of zeros. Each reader gets its own numbers."""
    model = onnx.load(source)
    random = np.random.default_rng(0)
    vectors = {}
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1 and tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims[0] >= 16:
            values = numpy_helper.to_array(tensor)
            if np.ptp(values) == 0:
                vectors[tensor.name] = values
    for index, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if name in vectors:
                values = vectors[name] * np.exp(random.standard_normal(vectors[name].shape)) + (vectors[name] == 0) * random.standard_normal(vectors[name].shape)
                node.input[place] = f"{name}_{index}_{place}"
                model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.input[place]))
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def varied(onnx_path, tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("varied"), {}

    def get(name):
        if name not in done:
            path = vary(onnx_path(name), folder / f"{name}.onnx")
            done[name] = path, lathe.load(lathe.compile(path, folder / f"{name}.lathe")).session(threads=1), onnx_session(path)
        return done[name]

    return get


def transformed(lathe_tool, source, folder, steps, output="transformed.lathe"):
    """The compiled model, and what the report tells of the steps."""
    recipe, report = folder / "recipe.json", folder / "report.json"
    recipe.write_text(json.dumps({"version": 1, "steps": steps}))
    lathe_tool.ok("compile", source, "-o", folder / output, "--recipe", recipe, "--report", report, *(["--emit", "onnx"] if output.endswith("onnx") else []))
    return folder / output, json.loads(report.read_text())["compression"]["transforms"]


def largest_difference(outputs, references):
    return max((np.abs(outputs[key] - references[key]).max() / np.abs(references[key]).max() for key in references if references[key].size), default=0)


@pytest.mark.parametrize("name", ["llama", "llama_nocache", "qwen2", "gpt2", "gpt2_nocache", "t5", "bert", "bloom", "vit", "whisper"])
@pytest.mark.parametrize("seed", [0, 7])
def test_rotation_is_exact(name, seed, varied, lathe_tool, tmp_path):
    source, plain, reference = varied(name)
    path, told = transformed(lathe_tool, source, tmp_path, [{"step": "rotate", "seed": seed}])
    rotated = [entry for entry in told if "reason" not in entry]
    session = lathe.load(path).session(threads=1)
    for number, size in enumerate(SIZES):
        inputs = make_inputs(reference, size, number)
        outputs = plain.run(inputs)
        assert largest_difference(session.run(inputs), outputs) < EXACT
    if name == "bert":
        # What a norm gives is added to the next layer's result, with gains that differ.
        assert not rotated and "gains" in told[0]["reason"] and "node_add" in told[0]["reason"]
        return
    assert rotated and all(entry["channels"] == (32 if name == "bloom" else 64) for entry in rotated)
    # It did something: weights are others.
    assert path.read_bytes().count(weight_bytes(source, rotated[0]["weights"][0])) == 0


def weight_bytes(source, name):
    tensor = next(tensor for tensor in onnx.load(source).graph.initializer if tensor.name == name)
    return np.ascontiguousarray(numpy_helper.to_array(tensor).reshape(-1)[-64:]).tobytes()


def reasons(told):
    return [entry["reason"] for entry in told if "reason" in entry]


@pytest.mark.parametrize(
    "name, pairs, why",
    [
        # Values of each of two layers' attention; gelu is not homogeneous.
        ("bert", 2, "'gelu'"),
        ("gpt2_nocache", 2, "'gelu'"),
        # Values are outputs of the program, too.
        ("gpt2", 0, "is read by others, too"),
        # Two of the gated layers beside them.
        ("llama_nocache", 4, "'rms_norm'"),
        ("llama", 2, "'rms_norm'"),
    ],
)
def test_equalization_is_exact(name, pairs, why, varied, lathe_tool, tmp_path):
    source, plain, reference = varied(name)
    path, told = transformed(lathe_tool, source, tmp_path, [{"step": "equalize"}])
    assert all(entry["step"] == "equalize" for entry in told)
    assert len([entry for entry in told if "reason" not in entry]) == pairs, told
    assert any(why in reason for reason in reasons(told)), told
    session = lathe.load(path).session(threads=1)
    for number, size in enumerate(SIZES):
        inputs = make_inputs(reference, size, number)
        assert largest_difference(session.run(inputs), plain.run(inputs)) < EXACT


@pytest.fixture(scope="module")
def rectified(tmp_path_factory):
    """Three layers with relu between, whose ranges differ by a hundred; the second is the second of one pair and the first of another."""
    random = np.random.default_rng(1)
    sizes = [24, 40, 32, 16]
    nodes, initializers = [], []
    for i, (k, n) in enumerate(zip(sizes, sizes[1:])):
        weight = random.standard_normal((k, n)) * np.exp(2 * random.standard_normal(n))
        initializers += [numpy_helper.from_array(weight.astype(np.float32), f"w{i}"), numpy_helper.from_array(random.standard_normal(n).astype(np.float32), f"b{i}")]
        nodes += [helper.make_node("MatMul", [f"x{i}", f"w{i}"], [f"m{i}"], f"product{i}"), helper.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"])]
        nodes.append(helper.make_node("Relu" if i < 2 else "Neg", [f"a{i}"], [f"x{i + 1}"], f"after{i}"))
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", size]) for name, size in (("x0", 24), ("x3", 16))]
    graph = helper.make_graph(nodes, "rectified", values[:1], values[1:], initializers)
    path = tmp_path_factory.mktemp("rectified") / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


def test_equalized_ranges(rectified, lathe_tool, tmp_path):
    """Both sides of a pair have one range afterwards, the function stays, and scales of whole tensors cost less."""
    path, told = transformed(lathe_tool, rectified, tmp_path, [{"step": "equalize"}], "equal.onnx")
    assert [entry["weights"] for entry in told if "reason" not in entry] == [["w0", "w1"], ["w1", "w2"]]
    assert [entry["channels"] for entry in told] == [0, 40, 32] and "input of the program" in told[0]["reason"]
    names = [tensor.name for tensor in onnx.load(path).graph.initializer]
    weights = {name[:2]: numpy_helper.to_array(tensor) for name, tensor in zip(names, onnx.load(path).graph.initializer)}
    first, second = np.abs(weights["w1"]).max(0), np.abs(weights["w2"]).max(1)
    assert np.allclose(first, second, rtol=1e-5)
    random = np.random.default_rng(2)
    theirs, ours = onnx_session(rectified), onnx_session(path)
    for batch in (1, 0, 7):
        inputs = {"x0": random.standard_normal((batch, 24)).astype(np.float32)}
        assert largest_difference(run(ours, inputs), run(theirs, inputs)) < EXACT


def test_equalization_chooses(rectified, lathe_tool, tmp_path):
    _, told = transformed(lathe_tool, rectified, tmp_path, [{"step": "equalize", "exclude": ["product2"]}])
    assert [entry["weights"] for entry in told if "reason" not in entry] == [["w0", "w1"]]
    assert "exclude" in told[2]["reason"]


def test_equalization_does_not_fire(lathe_tool, tmp_path):
    """One weight in two places of the chain, a value that something else reads, and rows that part after the first product."""
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]), helper.make_node("Relu", ["a"], ["b"]), helper.make_node("MatMul", ["b", "w"], ["c"]),
        helper.make_node("MatMul", ["x", "v"], ["d"]), helper.make_node("Sigmoid", ["d"], ["s"]), helper.make_node("Mul", ["d", "s"], ["e"]),
        helper.make_node("MatMul", ["e", "w"], ["f"]), helper.make_node("Add", ["c", "f"], ["g"]),
        helper.make_node("MatMul", ["x", "u"], ["h"]), helper.make_node("Split", ["h"], ["i", "j"], axis=0, num_outputs=2),
        helper.make_node("MatMul", ["i", "t"], ["k"]), helper.make_node("Add", ["k", "j"], ["l"]), helper.make_node("Concat", ["g", "l"], ["y"], axis=0),
    ]  # fmt: skip
    weights = [numpy_helper.from_array(np.random.default_rng(i).standard_normal((16, 16)).astype(np.float32), name) for i, name in enumerate("wvut")]
    values = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [rows, 16]) for name, rows in (("x", 4), ("y", 6))]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "g", values[:1], values[1:], weights), opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    _, told = transformed(lathe_tool, path, tmp_path, [{"step": "equalize"}])
    assert len(reasons(told)) == len(told) == 4, told
    assert any("another way" in reason for reason in reasons(told))


def test_bias_correction(rectified, lathe_tool, tmp_path):
    """Outputs keep their mean over the calibration data, and biases take the correction: there are no more operations."""
    random = np.random.default_rng(5)
    inputs = {"x0": np.abs(random.standard_normal((256, 24))).astype(np.float32)}
    np.savez(tmp_path / "calib.npz", **inputs)
    # Products of 2 bits that ONNX Runtime makes of what it reads would round activations.
    session = lambda path: onnx_session(path, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    expected = run(session(rectified), inputs)["x3"]
    errors, counts = {}, {}
    for name, flags in (("plain", []), ("corrected", ["--bias-correction"])):
        path, report = tmp_path / f"{name}.onnx", tmp_path / f"{name}.json"
        lathe_tool.ok("quantize", rectified, "-o", path, "--bits", "2", "--tensors", "w2", "--calib", tmp_path, "--report", report, *flags)
        errors[name] = np.abs((run(session(path), inputs)["x3"] - expected).mean(0)).max()
        counts[name] = len(onnx.load(path).graph.node)
        (layer,) = json.loads(report.read_text())["compression"]["layers"]
        assert layer.get("bias_corrected", False) == bool(flags)
    assert errors["plain"] > 0.1 * np.abs(expected).mean() and errors["corrected"] < 1e-4 * errors["plain"], errors
    assert counts["plain"] == counts["corrected"]


@pytest.mark.parametrize("name", ["gpt2", "llama_nocache", "t5"])
def test_generation_stays(name, varied, lathe_tool, tmp_path):
    """Programs of one artifact change together: encoders, prefill and steps with a cache, whose values are scaled."""
    source, _, _ = varied(name)
    path, told = transformed(lathe_tool, source, tmp_path, [{"step": "rotate"}, {"step": "equalize"}])
    assert any("reason" not in entry for entry in told)
    inputs = [{"input_ids": np.array([[5, 6, 7, 11]])}] if name == "t5" else []
    plain = lathe.load(source.with_suffix(".lathe")).generator().generate([7, 8, 9], *inputs, max_new_tokens=24)
    assert lathe.load(path).generator().generate([7, 8, 9], *inputs, max_new_tokens=24) == plain
