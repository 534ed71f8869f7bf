# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Programs for CUDA: what their kernels assemble to, and what rows, checks and reads become on the emulator."""
import json

import lathe
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from support import DEVICE

ASSEMBLED = ["bert", "deepseek_v3", "swin", "t5_encoder", "vit_nncf"]


@pytest.mark.parametrize("name", ASSEMBLED)
def test_every_kernel_assembles(name, lathe_tool, onnx_path, tmp_path):
    report = tmp_path / "report.json"
    result = lathe_tool(
        "compile", onnx_path(name), "-o", tmp_path / "m.lathe", "--target", "cuda:sm_80,sm_90", "--report", report
    )
    assert result.returncode == 0, result.stderr
    kernels = [kernel for kernel in json.loads(report.read_text())["kernels"] if kernel["kind"] == "generated"]
    assert kernels
    if "only PTX" in result.stderr + result.stdout:
        assert all("registers" not in kernel for kernel in kernels)
        pytest.skip("there is no nvJitLink")
    for kernel in kernels:
        assert kernel["function"], kernel["name"]
        assert set(kernel["resources"]) == {"sm_80", "sm_90"}, kernel["name"]
        assert 0 < kernel["registers"] <= 128 and kernel["spills"] == 0, kernel


def test_blocks_have_the_registers_of_their_kernels(lathe_tool, tmp_path):
    """Rows of so many inputs would like 224 registers a thread, with which blocks of 512 threads do not start."""

    def value(name, rows):
        return helper.make_tensor_value_info(name, TensorProto.DOUBLE, ["b", rows, "n"])

    nodes, last = [], "x0"
    for i in range(1, 50):
        nodes.append(helper.make_node("Mul" if i % 3 else "Add", [last, f"x{i}"], [f"s{i}"]))
        last = f"s{i}"
    nodes += [helper.make_node("Erf", [last], ["e"]), helper.make_node("Softmax", ["e"], ["y"], axis=-1)]
    graph = helper.make_graph(nodes, "wide", [value(f"x{i}", 1 if i % 2 else 7) for i in range(50)], [value("y", 7)])
    model, report = tmp_path / "m.onnx", tmp_path / "report.json"
    opsets = [helper.make_opsetid("", 17)]
    model.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    result = lathe_tool(
        "compile", model, "-o", tmp_path / "m.lathe", "--target", "cuda:sm_80,sm_90", "--report", report
    )
    assert result.returncode == 0, result.stderr
    if "only PTX" in result.stderr + result.stdout:
        pytest.skip("there is no nvJitLink")
    kernels = [kernel for kernel in json.loads(report.read_text())["kernels"] if kernel["kind"] == "generated"]
    assert kernels and all(kernel["registers"] <= 65536 // 512 for kernel in kernels), kernels


def test_without_a_toolkit(lathe_tool, onnx_path, tmp_path, monkeypatch):
    """Artifacts have PTX then, which LLVM writes, and one line says what they lack."""
    monkeypatch.setenv("CUDA_PATH", str(tmp_path / "nowhere"))
    artifact, ptx = tmp_path / "m.lathe", tmp_path / "m.ptx"
    result = lathe_tool("compile", onnx_path("bert"), "-o", artifact, "--target", "cuda")
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stderr.splitlines() if "cubin" in line]
    assert len(lines) == 1 and "only PTX" in lines[0] and "nvJitLink of the CUDA toolkit is not found" in lines[0], result.stderr
    code = lathe.load(artifact, device="none").manifest["device_code"]
    assert [entry["kind"] for entry in code] == ["ptx", "emulation"]
    lathe_tool.ok("compile", onnx_path("bert"), "-o", ptx, "--target", "cuda:sm_90", "--emit", "ptx")
    text = ptx.read_text()
    assert ".target sm_80" in text and ".visible .entry" in text


def test_inspect_without_a_device(lathe_tool, onnx_path, tmp_path):
    """What is in an artifact for a GPU alone is told where there is none; what a run takes, and runs, need one."""
    artifact = tmp_path / "m.lathe"
    lathe_tool.ok("compile", onnx_path("bert"), "-o", artifact, "--target", "cuda:sm_80")
    report = json.loads(lathe_tool.ok("inspect", artifact, "--json"))
    assert report["devices"] == ["cuda"] and report["inputs"] and report["weights_bytes"] > 0
    assert "devices        cuda" in lathe_tool.ok("inspect", artifact)
    module = lathe.load(artifact, device="none")
    assert module.inputs
    with pytest.raises(lathe.Error, match="loaded for device 'none', on which nothing runs"):
        module.session()
    if lathe_tool("run", artifact, "--device", "cuda").returncode == 0:
        pytest.skip("there is a GPU")
    forecast = lathe_tool("inspect", artifact, "--dim", "batch=1")
    assert forecast.returncode != 0 and "device 'cuda'" in forecast.stderr


def small(path, nodes, inputs, outputs, initializers=()):
    graph = helper.make_graph(nodes, "small", inputs, outputs, list(initializers))
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()
    )
    return path


@pytest.fixture
def softmax(tmp_path):
    """y = softmax(x * 2) over rows whose length the model leaves open."""
    value = helper.make_tensor_value_info
    two = numpy_helper.from_array(np.float32(2), "two")
    nodes = [helper.make_node("Mul", ["x", "two"], ["t"]), helper.make_node("Softmax", ["t"], ["y"], axis=-1)]
    shape = ["rows", "columns"]
    return small(
        tmp_path / "m.onnx", nodes, [value("x", TensorProto.FLOAT, shape)], [value("y", TensorProto.FLOAT, shape)], [two]
    )


# Fewer columns than lanes, as many, and more than the threads of a block; no rows, no columns.
@pytest.mark.parametrize("shape", [(1, 1), (3, 31), (2, 32), (5, 33), (2, 511), (2, 1537), (0, 4), (4, 0)])
@pytest.mark.parametrize("target", ["cuda", "cpu,cuda"])
def test_rows_of_any_length(shape, target, softmax, lathe_tool, tmp_path):
    lathe_tool.ok("compile", softmax, "-o", tmp_path / "m.lathe", "--target", target)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = lathe.load(tmp_path / "m.lathe", device=DEVICE).session(threads=1).run({"x": x})["y"]
    if x.size:
        e = np.exp(2 * (x - x.max(axis=-1, keepdims=True)))
        np.testing.assert_allclose(y, e / e.sum(axis=-1, keepdims=True), rtol=2e-5, atol=1e-7)
    assert y.shape == shape


# Of 48 rows the table is one panel of products by its transpose; of 50 it is padded, of 100 there are two.
@pytest.mark.parametrize("rows", [48, 50, 100])
@pytest.mark.parametrize("target, device", [("cpu", "cpu"), ("cuda", DEVICE), ("cpu,cuda", "cpu"), ("cpu,cuda", DEVICE)])
def test_tied_tables(rows, target, device, lathe_tool, tmp_path):
    value = helper.make_tensor_value_info
    table = np.random.default_rng(0).standard_normal((rows, 16)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "i"], ["x"]),
        helper.make_node("Tanh", ["x"], ["t"]),
        helper.make_node("Transpose", ["table"], ["head"], perm=[1, 0]),
        helper.make_node("MatMul", ["t", "head"], ["y"]),
    ]
    model = small(
        tmp_path / "m.onnx",
        nodes,
        [value("i", TensorProto.INT64, ["n"])],
        [value("y", TensorProto.FLOAT, ["n", rows])],
        [numpy_helper.from_array(table, "table")],
    )
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--target", target)
    indices = np.array([1, 5, rows - 1, -2])
    y = lathe.load(tmp_path / "m.lathe", device=device).session(threads=1).run({"i": indices})["y"]
    np.testing.assert_allclose(y, np.tanh(table[indices]) @ table.T, atol=2e-5)
    if target == "cpu,cuda":  # the table is there once
        lathe_tool.ok("compile", model, "-o", tmp_path / "one.lathe", "--target", "cpu")
        info = [json.loads(lathe_tool.ok("inspect", tmp_path / name, "--json")) for name in ("m.lathe", "one.lathe")]
        assert info[0]["weights_bytes"] == info[1]["weights_bytes"]


def test_nothing_but_calls(lathe_tool, tmp_path):
    value = helper.make_tensor_value_info
    weight = np.arange(12, dtype=np.float32).reshape(4, 3)
    model = small(
        tmp_path / "m.onnx",
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        [value("x", TensorProto.FLOAT, ["n", 4])],
        [value("y", TensorProto.FLOAT, ["n", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--target", "cuda")
    x = np.eye(4, dtype=np.float32)[:2]
    y = lathe.load(tmp_path / "m.lathe", device=DEVICE).session(threads=1).run({"x": x})["y"]
    np.testing.assert_array_equal(y, weight[:2])


@pytest.mark.parametrize("shape", [[], [1], [1, 1]])
def test_one_number(shape, lathe_tool, tmp_path):
    value = helper.make_tensor_value_info
    nodes = [helper.make_node("Exp", ["x"], ["t"]), helper.make_node("Reshape", ["t", "s"], ["u"]), helper.make_node("Neg", ["u"], ["y"])]
    model = small(
        tmp_path / "m.onnx",
        nodes,
        [value("x", TensorProto.FLOAT, shape)],
        [value("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.array(shape, np.int64), "s")],
    )
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--target", "cuda")
    y = lathe.load(tmp_path / "m.lathe", device=DEVICE).session(threads=1).run({"x": np.ones(shape, np.float32)})["y"]
    np.testing.assert_allclose(y, -np.exp(np.ones(shape)), rtol=1e-6)


def test_a_check_fails_on_the_device(lathe_tool, tmp_path):
    value = helper.make_tensor_value_info
    table = numpy_helper.from_array(np.ones((4, 2), np.float32), "table")
    model = small(
        tmp_path / "m.onnx",
        [helper.make_node("Gather", ["table", "i"], ["y"], name="the_gather")],
        [value("i", TensorProto.INT64, ["n"])],
        [value("y", TensorProto.FLOAT, ["n", 2])],
        [table],
    )
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--target", "cuda")
    session = lathe.load(tmp_path / "m.lathe", device=DEVICE).session(threads=1)
    assert session.run({"i": np.array([0, 3])})["y"].shape == (2, 2)
    with pytest.raises(lathe.Error, match="the_gather.*out of range"):
        session.run({"i": np.array([0, 4])})
    assert session.run({"i": np.array([-1])})["y"].shape == (1, 2)


def test_what_the_host_reads(lathe_tool, tmp_path):
    """The length of a result is a number that the device computed."""
    value = helper.make_tensor_value_info
    model = small(
        tmp_path / "m.onnx",
        [helper.make_node("NonZero", ["x"], ["y"])],
        [value("x", TensorProto.FLOAT, ["n"])],
        [value("y", TensorProto.INT64, [1, None])],
    )
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--target", "cuda")
    session = lathe.load(tmp_path / "m.lathe", device=DEVICE).session(threads=1)
    for x in ([0, 1, 0, 2, 3], [0, 0], [5]):
        x = np.array(x, np.float32)
        np.testing.assert_array_equal(session.run({"x": x})["y"], np.nonzero(x))


def test_ptx_as_text(lathe_tool, softmax, tmp_path):
    lathe_tool.ok("compile", softmax, "-o", tmp_path / "m.ptx", "--target", "cuda", "--emit", "ptx")
    text = (tmp_path / "m.ptx").read_text()
    assert ".target sm_80" in text and ".visible .entry main_kernel_0" in text
    assert "shfl.sync.bfly" in text and ".extern .shared" in text and "call" not in text


@pytest.mark.parametrize(
    "target, expected",
    [
        ("cuda:sm_70", "target 'cuda' has code for sm_80, sm_89, sm_90 and sm_100, got 'sm_70'"),
        ("cuda:", "expected a target of cpu"),
        ("cpu,cpu", "expected each device once"),
        ("gpu", "expected a target of cpu"),
    ],
)
def test_targets_that_are_not(target, expected, lathe_tool, softmax, tmp_path):
    result = lathe_tool("compile", softmax, "-o", tmp_path / "m.lathe", "--target", target)
    assert result.returncode == 2 and expected in result.stderr
    assert not (tmp_path / "m.lathe").exists()


def test_ptx_is_of_cuda(lathe_tool, softmax, tmp_path):
    result = lathe_tool("compile", softmax, "-o", tmp_path / "m.ptx", "--emit", "ptx")
    assert result.returncode == 2 and "--emit ptx goes with --target cuda" in result.stderr
