# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Rows that products round are rounded by the kernel that computes them: as ONNX Runtime's results of the same graph with a scale for each row."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe

FLAGS = ["--mode", "dynamic", "--prefer", "size"]


def save(path, width, residual):
    """Two products of a norm, a third behind a gelu, and with `residual` the norm once more: added to what comes out, and given out."""
    random = np.random.default_rng(3)
    constants = [numpy_helper.from_array(np.linspace(0.5, 2, width, dtype=np.float32), "gain"),
                 numpy_helper.from_array(random.normal(0, 0.1, width).astype(np.float32), "shift")]
    for name, k, n in (("left", width, 48), ("right", width, 48), ("down", 48, width)):
        constants.append(numpy_helper.from_array((random.standard_normal((k, n)) / np.sqrt(k)).astype(np.float32), name))
    node = helper.make_node
    nodes = [
        node("LayerNormalization", ["x", "gain", "shift"], ["norm"], "norm", axis=-1, epsilon=1e-5),
        node("MatMul", ["norm", "left"], ["a"], "left"),
        node("MatMul", ["norm", "right"], ["b"], "right"),
        node("Gelu", ["a"], ["g"], "gelu"),
        node("Mul", ["g", "b"], ["m"], "gate"),
        node("MatMul", ["m", "down"], ["d"], "down"),
        node("Add", ["d", "norm" if residual else "x"], ["y"], "sum"),
    ]
    names = ["y", "norm"] if residual else ["y"]
    shape = ["batch", "sequence", width]
    graph = helper.make_graph(nodes, "rows", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
                              [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in names], constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def rows(batch, length, width):
    """Some of zeros, of next to nothing, with one large number."""
    x = np.random.default_rng([batch, length]).normal(0, 1, (batch, length, width)).astype(np.float32)
    flat = x.reshape(-1, width)
    for at, change in ((1, lambda row: row * 0), (2, lambda row: row * 1e-30), (4, lambda row: np.where(np.arange(width) == 1, 300, row))):
        if len(flat) > at:
            flat[at] = change(flat[at])
    return x


@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("width", [64, 192, 33])
def test_equals_onnx_runtime(width, residual, lathe_tool, tmp_path):
    save(tmp_path / "model.onnx", width, residual)
    for name in ("q.onnx", "q.lathe"):
        lathe_tool.ok("quantize", tmp_path / "model.onnx", "-o", tmp_path / name, *FLAGS)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    oracle = onnxruntime.InferenceSession(tmp_path / "q.onnx", options, providers=["CPUExecutionProvider"])
    session = lathe.load(tmp_path / "q.lathe").session(threads=2)
    for batch, length in [(1, 1), (2, 7), (3, 33), (1, 128), (0, 4), (2, 0), (1, 1)]:
        x = rows(batch, length, width)
        outputs = session.run({"x": x})
        for value, expected in zip(oracle.get_outputs(), oracle.run(None, {"x": x})):
            got = outputs[value.name]
            assert got.shape == expected.shape and np.isfinite(got).all()
            # A number between two steps is rounded either way: of few.
            error = np.abs(got - expected)
            assert error.max(initial=0) <= 2e-2 * np.abs(expected).max(initial=0)
            assert np.sqrt((error**2).mean()) <= 3e-3 * np.sqrt((expected**2).mean()) if error.size else True


@pytest.mark.parametrize("residual", [False, True])
def test_kernel_of_the_norm_rounds(residual, lathe_tool, tmp_path):
    """The products of the norm read bytes with their scales and sums; that behind the gelu, which a product computes, rounds by itself."""
    save(tmp_path / "model.onnx", 64, residual)
    lathe_tool.ok("compile", tmp_path / "model.onnx", "-o", tmp_path / "q.lathe", "--int8", "--dump-ir", tmp_path / "ir")
    text = next((tmp_path / "ir").glob("*-select.mlir")).read_text()
    products = [line for line in text.splitlines() if "kernel.matmul" in line]
    assert ["scales(" in line and "sums(" in line for line in products] == [True, True, False]
    # As numbers the norm is stored where something else reads it.
    launch = next(line for line in text.splitlines() if "kernel.launch" in line)
    assert launch.split(" : ")[-1].count("x64xf32>") == (2 if residual else 1)
