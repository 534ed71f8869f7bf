# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Weights of three axes, of experts and of convolutions in groups, are compressed matrix by matrix; ONNX Runtime's results of what is written equal ours."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe

EXPERTS, WIDTH, HIDDEN = 3, 64, 96
FORMS = {
    "int8": ["--bits", "8"],
    "int4": ["--bits", "4", "--group-size", "32"],
    "int4-zeros": ["--bits", "4", "--group-size", "32", "--asymmetric"],
    "gptq": ["--bits", "4", "--group-size", "32", "--method", "gptq"],
    "awq": ["--bits", "4", "--group-size", "32", "--method", "awq"],
    "nf4": ["--format", "nf4", "--bits", "4", "--group-size", "32"],
    "codebook": ["--mode", "codebook", "--bits", "8", "--dimension", "2"],
    "dynamic": ["--mode", "dynamic", "--prefer", "size"],
}


def save(path, nodes, inputs, outputs, weights):
    infos = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in side] for side in (inputs, outputs)]
    graph = helper.make_graph(nodes, "stacks", *infos, [numpy_helper.from_array(value, name) for name, value in weights.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    """All tokens through all experts, weighted by a router, as exporters write batched products of stacked experts."""
    random = np.random.default_rng(0)
    shapes = {"router": (WIDTH, EXPERTS), "experts.up": (EXPERTS, WIDTH, HIDDEN), "experts.gate": (EXPERTS, WIDTH, HIDDEN), "experts.down": (EXPERTS, WIDTH, HIDDEN)}
    weights = {name: (random.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}
    weights["axis"] = np.array([0], np.int64)
    nodes = [
        helper.make_node("MatMul", ["x", "router"], ["r"], "router"),
        helper.make_node("Softmax", ["r"], ["p"], "softmax"),
        helper.make_node("Unsqueeze", ["x", "axis"], ["xe"], "all"),
        helper.make_node("MatMul", ["xe", "experts.up"], ["u"], "up"),
        helper.make_node("MatMul", ["xe", "experts.gate"], ["g"], "gate"),
        helper.make_node("Sigmoid", ["g"], ["s"], "sigmoid"),
        helper.make_node("Mul", ["g", "s"], ["gs"], "silu"),
        helper.make_node("Mul", ["gs", "u"], ["h"], "gated"),
        helper.make_node("Transpose", ["experts.down"], ["turned"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["h", "turned"], ["d"], "down"),
        helper.make_node("Transpose", ["p"], ["pt"], "weights", perm=[1, 0]),
        helper.make_node("Einsum", ["d", "pt"], ["y"], "combine", equation="etw,et->tw"),
    ]
    folder = tmp_path_factory.mktemp("experts")
    calib = folder / "calib"
    calib.mkdir()
    for i in range(3):
        np.savez(calib / f"{i}.npz", x=random.normal(size=(40 + i, WIDTH)).astype(np.float32))
    return save(folder / "m.onnx", nodes, [("x", ["tokens", WIDTH])], [("y", ["tokens", WIDTH])], weights), calib


@pytest.fixture(scope="module")
def grouped(tmp_path_factory):
    """A convolution in two groups between one of all channels and one of single ones."""
    random = np.random.default_rng(0)
    shapes = {"first": (64, 3, 3, 3), "groups": (64, 32, 3, 3), "single": (64, 1, 3, 3)}
    weights = {name: (random.normal(size=shape) / 8).astype(np.float32) for name, shape in shapes.items()}
    weights["bias"] = random.normal(size=64).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "first"], ["a"], "first", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["a"], ["b"], "relu"),
        helper.make_node("Conv", ["b", "groups", "bias"], ["c"], "groups", group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Conv", ["c", "single"], ["y"], "single", group=64, pads=[1, 1, 1, 1]),
    ]
    folder = tmp_path_factory.mktemp("grouped")
    return save(folder / "m.onnx", nodes, [("x", ["n", 3, "h", "w"])], [("y", ["n", 64, "oh", "ow"])], weights)


def session(path):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL  # optimized, products of 4 bits round activations
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def compress(lathe_tool, model, folder, command, *flags):
    """Results of the dense model, the artifact, and the ONNX file by an input; and the reports of the artifact."""
    written, artifact, report = folder / "q.onnx", folder / "q.lathe", folder / "r.json"
    lathe_tool.ok(command, model, "-o", written, *flags)
    lathe_tool.ok(command, model, "-o", artifact, "--report", report, *flags)
    onnx.checker.check_model(str(written), full_check=True)
    dense, theirs, ours = session(model), session(written), lathe.load(artifact).session()
    return (lambda x: (dense.run(None, {"x": x})[0], ours.run({"x": x})["y"], theirs.run(None, {"x": x})[0])), json.loads(report.read_text())


def check(results, x, form):
    dense, ours, theirs = results(x)
    assert ours.shape == theirs.shape == dense.shape
    if ours.size:
        scale = np.abs(theirs).max()
        assert np.abs(ours - theirs).max() <= (2e-2 if "dynamic" in form else 1e-3) * scale
        assert 1e-6 * scale < np.abs(ours - dense).max() < 0.4 * scale


@pytest.mark.parametrize("form", FORMS)
def test_experts(form, experts, lathe_tool, tmp_path):
    model, calib = experts
    flags = [*FORMS[form], *(["--calib", calib] if form in ("gptq", "awq") else [])]
    results, report = compress(lathe_tool, model, tmp_path, "quantize", *flags, "--exclude", "router")
    layers = report["compression"]["layers"]
    names = {f"experts.{name}[{i}:{i + 1}]" for name in ("up", "gate", "down") for i in range(EXPERTS)}
    assert {layer["weight"] for layer in layers} == names
    assert all(layer["bytes_after"] < 0.4 * layer["bytes_before"] for layer in layers)
    assert not report["decompressed"]  # products read the codes of each expert
    random = np.random.default_rng(1)
    for tokens in (1, 7, 33, 0):
        check(results, random.normal(size=(tokens, WIDTH)).astype(np.float32), form)


def test_names_of_stacks(experts, lathe_tool, tmp_path):
    """The initializer's name is that of all its matrices, and a stack that no step is of stays whole."""
    model, _ = experts
    results, report = compress(lathe_tool, model, tmp_path, "quantize", "--bits", "8", "--tensors", "experts.up", "experts.down[[]1:2]")
    assert {layer["weight"] for layer in report["compression"]["layers"]} == {*(f"experts.up[{i}:{i + 1}]" for i in range(EXPERTS)), "experts.down[1:2]"}
    check(results, np.random.default_rng(1).normal(size=(5, WIDTH)).astype(np.float32), "int8")
    result = lathe_tool("quantize", model, "-o", tmp_path / "n.lathe", "--bits", "8", "--tensors", "experts.none")
    assert result.returncode == 2 and "no weight" in result.stderr and not (tmp_path / "n.lathe").exists()


@pytest.mark.parametrize("command, flags", [("prune", ["--sparsity", "0.5"]), ("lowrank", ["--ratio", "0.5"])])
def test_other_steps(command, flags, experts, lathe_tool, tmp_path):
    results, _ = compress(lathe_tool, experts[0], tmp_path, command, *flags, "--exclude", "router")
    dense, ours, theirs = results(np.random.default_rng(1).normal(size=(9, WIDTH)).astype(np.float32))
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= 1e-4 * scale < np.abs(ours - dense).max()


@pytest.mark.parametrize("bits, axis, block", [(8, 2, 0), (8, 1, 32), (4, 1, 32)])
def test_stored_stacks(bits, axis, block, lathe_tool, tmp_path):
    """DequantizeLinear of three axes: products read each expert's codes."""
    random = np.random.default_rng(0)
    largest = 2 ** (bits - 1) - 1
    codes = random.integers(-largest, largest + 1, (EXPERTS, WIDTH, HIDDEN)).astype(np.int8)
    shape = (EXPERTS, WIDTH // block, HIDDEN) if block else (HIDDEN,)
    kind = TensorProto.INT4 if bits == 4 else TensorProto.INT8
    scale = (random.random(shape) / 50 + 0.01).astype(np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["codes", "scale"], ["w"], "read", axis=axis, **({"block_size": block} if block else {})),
        helper.make_node("MatMul", ["x", "w"], ["y"], "product"),
    ]
    save(tmp_path / "m.onnx", nodes, [("x", [EXPERTS, "n", WIDTH])], [("y", [EXPERTS, "n", HIDDEN])], {"scale": scale})
    model = onnx.load(tmp_path / "m.onnx")
    model.graph.initializer.append(helper.make_tensor("codes", kind, codes.shape, codes.flatten()))
    onnx.save(model, tmp_path / "m.onnx")
    report = tmp_path / "r.json"
    ours = lathe.load(lathe.compile(tmp_path / "m.onnx", tmp_path / "m.lathe", report=report)).session()
    assert not json.loads(report.read_text())["decompressed"]
    theirs = session(tmp_path / "m.onnx")
    for n in (1, 5, 0):
        x = random.normal(size=(EXPERTS, n, WIDTH)).astype(np.float32)
        np.testing.assert_allclose(ours.run({"x": x})["y"], theirs.run(None, {"x": x})[0], rtol=0, atol=1e-4)


@pytest.mark.parametrize("form", ["int8", "int4", "codebook", "dynamic"])
def test_convolutions_in_groups(form, grouped, lathe_tool, tmp_path):
    results, report = compress(lathe_tool, grouped, tmp_path, "quantize", *FORMS[form], "--exclude", "first")
    assert {layer["weight"] for layer in report["compression"]["layers"]} == {"groups[0:1]", "groups[1:2]"}
    assert not report["decompressed"]
    random = np.random.default_rng(1)
    for shape in ((1, 3, 8, 8), (2, 3, 5, 9), (0, 3, 4, 4)):
        check(results, random.normal(size=shape).astype(np.float32), form)


def test_convolutions_in_groups_are_pruned(grouped, lathe_tool, tmp_path):
    results, report = compress(lathe_tool, grouped, tmp_path, "prune", "--sparsity", "0.5", "--tensors", "groups")
    assert [layer["sparsity"] for layer in report["compression"]["pruned"]] == pytest.approx([0.5, 0.5], abs=0.1)
    dense, ours, theirs = results(np.random.default_rng(1).normal(size=(2, 3, 8, 6)).astype(np.float32))
    scale = np.abs(theirs).max()
    assert np.abs(ours - theirs).max() <= 1e-4 * scale < np.abs(ours - dense).max()
