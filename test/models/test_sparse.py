# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Weights without their zeros: artifacts and ONNX equal ONNX Runtime's results with the dense ones."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe

WIDTH, INNER = 96, 130
SHAPES = [(1, 1), (1, 7), (3, 5), (2, 33), (0, 4), (1, 0)]


def zeros_at_random(rng, shape, share):
    return rng.random(shape) < share


def zero_blocks(rng, shape, share, height, width):
    coarse = rng.random((-(-shape[0] // height), -(-shape[1] // width))) < share
    return np.kron(coarse, np.ones((height, width), bool))[: shape[0], : shape[1]]


def zero_groups(rng, shape, n, m):
    """Of each m inputs, along the first axis, n are left."""
    order = np.argsort(rng.random((-(-shape[0] // m), m, shape[1])), axis=1)
    return (order >= n).reshape(-1, shape[1])[: shape[0]]


PATTERNS = {
    "random": lambda rng, shape: zeros_at_random(rng, shape, 0.9),
    "blocks": lambda rng, shape: zero_blocks(rng, shape, 0.9, 4, 16),
    "groups": lambda rng, shape: zero_groups(rng, shape, 1, 8),
}


def make_model(path, pattern, transposed=False, dtype=np.float32):
    """gelu(x . a + bias) . b + x, with residual; with `transposed` by Gemm of [outputs, inputs]."""
    rng = np.random.default_rng(3)
    a = rng.normal(size=(WIDTH, INNER)).astype(dtype)
    b = rng.normal(size=(INNER, WIDTH)).astype(dtype)
    for weight in (a, b):
        weight[PATTERNS[pattern](rng, weight.shape) if isinstance(pattern, str) else pattern(rng, weight.shape)] = 0
    bias = rng.normal(size=INNER).astype(dtype)
    kind = {np.float32: TensorProto.FLOAT, np.float16: TensorProto.FLOAT16}[dtype]
    if transposed:
        nodes = [
            helper.make_node("Reshape", ["x", "rows"], ["flat"]),
            helper.make_node("Gemm", ["flat", "a", "bias"], ["h"], name="up", transB=1),
            helper.make_node("Relu", ["h"], ["g"], name="act"),
            helper.make_node("Gemm", ["g", "b"], ["d"], name="down", transB=1),
            helper.make_node("Shape", ["x"], ["shape"]),
            helper.make_node("Reshape", ["d", "shape"], ["r"], allowzero=1),
            helper.make_node("Add", ["r", "x"], ["y"], name="residual"),
        ]
        a, b = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    else:
        nodes = [
            helper.make_node("MatMul", ["x", "a"], ["p"], name="up"),
            helper.make_node("Add", ["p", "bias"], ["h"], name="add"),
            helper.make_node("Gelu", ["h"], ["g"], name="act"),
            helper.make_node("MatMul", ["g", "b"], ["d"], name="down"),
            helper.make_node("Add", ["d", "x"], ["y"], name="residual"),
        ]
    values = [[helper.make_tensor_value_info(name, kind, ["batch", "sequence", WIDTH])] for name in "xy"]
    constants = [numpy_helper.from_array(value, name) for name, value in (("a", a), ("b", b), ("bias", bias))]
    constants.append(numpy_helper.from_array(np.array([-1, WIDTH], np.int64), "rows"))
    graph = helper.make_graph(nodes, "sparse", *values, constants)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    return path


def recipe(tmp_path, *steps):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"version": 1, "steps": list(steps)}))
    return path


def reference(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    # Products of 8 bits that ONNX Runtime makes of what it reads would round activations.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def check_equal(path, artifact, tolerance=2e-4, shapes=SHAPES, dtype=np.float32):
    theirs, ours = reference(path), lathe.load(artifact, verify=True).session(threads=2)
    for seed, (batch, sequence) in enumerate(shapes):
        x = np.random.default_rng(seed).normal(size=(batch, sequence, WIDTH)).astype(dtype)
        expected, got = theirs.run(None, {"x": x})[0], ours.run({"x": x})["y"]
        assert got.shape == expected.shape
        if got.size:
            assert np.abs(got.astype(np.float32) - expected).max() <= tolerance * np.abs(expected).max(), (batch, sequence)


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
@pytest.mark.parametrize("transposed", [False, True], ids=["inputs_first", "outputs_first"])
@pytest.mark.parametrize("pattern, format", [("random", "csr"), ("random", "bitmap"), ("blocks", "bsr"), ("groups", "n_of_m")])
def test_formats(pattern, format, transposed, isa, lathe_tool, tmp_path, monkeypatch):
    model = make_model(tmp_path / "model.onnx", pattern, transposed)
    artifact, report = tmp_path / "model.lathe", tmp_path / "report.json"
    # Sizes of tests are below those that pay in time.
    steps = recipe(tmp_path, {"step": "sparsify", "format": format, "prefer": "size"})
    lathe_tool.ok("compile", model, "-o", artifact, "--recipe", steps, "--report", report)
    found = json.loads(report.read_text())
    assert [layer["format"] for layer in found["compression"]["sparse"]] == [format] * 2
    assert found["decompressed"] == []
    for layer in found["compression"]["sparse"]:
        assert layer["bytes_after"] < layer["bytes_before"]
    manifest = json.loads(lathe_tool.ok("inspect", artifact, "--json"))
    assert manifest["weights_bytes"] < 0.7 * 4 * 2 * WIDTH * INNER
    monkeypatch.setenv("LATHE_ISA", isa)
    check_equal(model, artifact, shapes=[shape for shape in SHAPES if 0 not in shape] if transposed else SHAPES)


@pytest.mark.parametrize("pattern, format", [("random", "csr"), ("random", "bitmap"), ("blocks", "bsr"), ("groups", "n_of_m")])
def test_reference_backend(pattern, format, lathe_tool, tmp_path):
    """What a format means, by its lowering to loops."""
    model, artifact = make_model(tmp_path / "model.onnx", pattern), tmp_path / "model.lathe"
    steps = recipe(tmp_path, {"step": "sparsify", "format": format, "prefer": "size"})
    lathe_tool.ok("compile", model, "-o", artifact, "--recipe", steps, "--target", "reference")
    check_equal(model, artifact)


@pytest.mark.parametrize("codes", [False, True], ids=["floats", "codes"])
@pytest.mark.parametrize("pattern, format", [("random", "csr"), ("random", "bitmap"), ("blocks", "bsr"), ("groups", "n_of_m")])
def test_onnx(pattern, format, codes, lathe_tool, tmp_path):
    """ONNX that is written is valid, gives the same, and runs here, too."""
    model, written, again = make_model(tmp_path / "model.onnx", pattern), tmp_path / "written.onnx", tmp_path / "again.lathe"
    quantize = [{"step": "quantize", "bits": 8, "scale_type": "f32"}] if codes else []
    steps = recipe(tmp_path, *quantize, {"step": "sparsify", "format": format, "prefer": "size"})
    lathe_tool.ok("compile", model, "-o", written, "--emit", "onnx", "--recipe", steps)
    onnx.checker.check_model(str(written), full_check=True)
    kinds = {node.op_type for node in onnx.load(written).graph.node}
    assert kinds & {"ScatterElements", "ScatterND", "Gather"}
    theirs, wide = reference(model), reference(written)
    x = np.random.default_rng(0).normal(size=(2, 9, WIDTH)).astype(np.float32)
    expected, got = theirs.run(None, {"x": x})[0], wide.run(None, {"x": x})[0]
    assert np.abs(got - expected).max() <= (2e-2 if codes else 1e-5) * np.abs(expected).max()
    lathe.compile(written, again)
    check_equal(written, again)


@pytest.mark.parametrize("group", [0, 32])
def test_codes(group, lathe_tool, tmp_path):
    """Zeros stay zeros when weights become codes, and codes are stored without them."""
    model, artifact, dense, report = (tmp_path / name for name in ("model.onnx", "model.lathe", "dense.lathe", "report.json"))
    make_model(model, "random")
    quantize = {"step": "quantize", "bits": 8, "group_size": group}
    lathe_tool.ok("compile", model, "-o", dense, "--recipe", recipe(tmp_path, quantize))
    lathe_tool.ok("compile", model, "-o", artifact, "--recipe", recipe(tmp_path, quantize, {"step": "sparsify", "prefer": "size"}), "--report", report)
    found = json.loads(report.read_text())
    # Groups of 130 inputs end with one of 2, which is as any other.
    assert [layer["format"] != "dense" for layer in found["compression"]["sparse"]] == [True, True]
    assert found["decompressed"] == []
    ours, theirs = (lathe.load(path).session(threads=1) for path in (artifact, dense))
    for batch, sequence in SHAPES:
        x = np.random.default_rng(batch).normal(size=(batch, sequence, WIDTH)).astype(np.float32)
        a, b = ours.run({"x": x})["y"], theirs.run({"x": x})["y"]
        if a.size:
            assert np.abs(a - b).max() <= 1e-4 * np.abs(b).max()


def test_half(lathe_tool, tmp_path):
    """Weights of 16 bits stay such."""
    model, artifact, report = (tmp_path / name for name in ("model.onnx", "model.lathe", "report.json"))
    make_model(model, "random", dtype=np.float16)
    lathe_tool.ok("compile", model, "-o", artifact, "--recipe", recipe(tmp_path, {"step": "sparsify", "prefer": "size"}), "--report", report)
    layers = json.loads(report.read_text())["compression"]["sparse"]
    assert [layer["bytes_before"] for layer in layers] == [2 * WIDTH * INNER] * 2
    assert all(layer["format"] != "dense" for layer in layers)
    check_equal(model, artifact, tolerance=1e-2, dtype=np.float16, shapes=SHAPES[:4])


def test_what_does_not_pay_stays(lathe_tool, tmp_path):
    """Half of the weights zero: dense where that is as fast here (what was timed decides, and what is told agrees), sparse where it is smaller."""
    model = make_model(tmp_path / "model.onnx", lambda rng, shape: zeros_at_random(rng, shape, 0.5))
    artifact, plain, report = (tmp_path / name for name in ("model.lathe", "plain.lathe", "report.json"))
    result = lathe_tool.ok("compile", model, "-o", artifact, "--sparse", "--report", report)
    layers = json.loads(report.read_text())["compression"]["sparse"]
    for layer in layers:
        assert [way["as"] for way in layer["timed"]] == ["dense", "bitmap"] and layer["rows"] == 128
        dense, bitmap = (way["microseconds"] for way in layer["timed"])
        pays = dense > 1.1 * bitmap and dense - bitmap > 3
        assert layer["format"] == ("bitmap" if pays else "dense") and ("reason" in layer) != pays
    left = sum(layer["format"] == "dense" for layer in layers)
    assert ("sparse: 2 dense" in result) == (left == 2)
    lathe_tool.ok("compile", model, "-o", plain)
    assert (abs(artifact.stat().st_size - plain.stat().st_size) < 4096) == (left == 2)
    lathe_tool.ok("compile", model, "-o", artifact, "--recipe", recipe(tmp_path, {"step": "sparsify", "prefer": "size"}))
    assert artifact.stat().st_size < plain.stat().st_size
    check_equal(model, artifact)


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    """y = x . weight, large enough that zeros pay in time on any machine."""
    weight = np.random.default_rng(4).normal(size=(640, 512)).astype(np.float32)
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size])] for name, size in (("x", 640), ("y", 512))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "weight"], ["y"], name="product")], "large", *values, [numpy_helper.from_array(weight, "weight")])
    path = tmp_path_factory.mktemp("large") / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    return path


@pytest.mark.parametrize("pattern", ["unstructured", "block:16x16"])
def test_pruned_is_stored_sparse(pattern, large, lathe_tool, tmp_path):
    """Where a step prunes, an artifact leaves out zeros by itself, and its recipe tells how; ONNX keeps them, unless size is preferred."""
    artifact, report, kept, again, dense, small = (tmp_path / name for name in ("a.lathe", "r.json", "kept.json", "b.lathe", "d.onnx", "s.onnx"))
    flags = ["--sparsity", "0.95", "--pattern", pattern]
    lathe_tool.ok("prune", large, "-o", artifact, *flags, "--report", report)
    [layer] = json.loads(report.read_text())["compression"]["sparse"]
    assert layer["format"] in (("csr", "bitmap") if pattern == "unstructured" else ("bsr", "csr", "bitmap"))
    assert layer["microseconds_after"] < layer["microseconds_before"]
    assert artifact.stat().st_size < 0.15 * large.stat().st_size + 40000
    kept.write_text(json.dumps(json.loads(lathe_tool.ok("inspect", artifact, "--json"))["recipe"]))
    lathe_tool.ok("compile", large, "-o", again, "--recipe", kept)
    assert again.read_bytes() == artifact.read_bytes()
    lathe_tool.ok("prune", large, "-o", dense, *flags)
    assert [node.op_type for node in onnx.load(dense).graph.node] == ["MatMul"]
    lathe_tool.ok("prune", large, "-o", small, *flags, "--prefer", "size")
    assert small.stat().st_size < 0.15 * large.stat().st_size
    ours = lathe.load(artifact).session(threads=2)
    for n in (1, 3, 40):
        x = np.random.default_rng(n).normal(size=(n, 640)).astype(np.float32)
        expected, other = (reference(path).run(None, {"x": x})[0] for path in (dense, small))
        assert np.abs(other - expected).max() <= 1e-5 * np.abs(expected).max()
        assert np.abs(ours.run({"x": x})["y"] - expected).max() <= 1e-5 * np.abs(expected).max()


def test_tables_stay(lathe_tool, tmp_path):
    """A matrix whose rows are looked up, too, stays as it is."""
    rng = np.random.default_rng(1)
    table = rng.normal(size=(64, 32)).astype(np.float32)
    table[zeros_at_random(rng, table.shape, 0.95)] = 0
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["x"], name="embed"),
        helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
        helper.make_node("MatMul", ["x", "head"], ["y"], name="head"),
    ]
    values = [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n"])], [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 64])]
    graph = helper.make_graph(nodes, "tied", *values, [numpy_helper.from_array(table, "table")])
    model, report = tmp_path / "model.onnx", tmp_path / "report.json"
    model.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    lathe_tool.ok("compile", model, "-o", tmp_path / "model.lathe", "--sparse", "--report", report)
    [layer] = json.loads(report.read_text())["compression"]["sparse"]
    assert layer["format"] == "dense" and "read it, too" in layer["reason"]


def test_repeated(lathe_tool, tmp_path):
    """The artifact's own recipe makes the same bytes."""
    model = make_model(tmp_path / "model.onnx", "blocks")
    first, second = tmp_path / "first.lathe", tmp_path / "second.lathe"
    lathe_tool.ok("compile", model, "-o", first, "--sparse")
    kept = json.loads(lathe_tool.ok("inspect", first, "--json"))["recipe"]
    path = tmp_path / "kept.json"
    path.write_text(json.dumps(kept))
    lathe_tool.ok("compile", model, "-o", second, "--recipe", path)
    assert first.read_bytes() == second.read_bytes()
