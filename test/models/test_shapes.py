# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Shapes that follow from what integer inputs hold, and those that no tensor can have."""

import numpy as np
import onnx
import pytest
from graphs import F32, I64, TARGETS, Graph

import lathe


def compiled(graph, path, target):
    model, artifact = path / "model.onnx", path / "model.lathe"
    onnx.save(graph.model(), model)
    lathe.compile(model, artifact, **TARGETS[target])
    return lathe.load(artifact).session()


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


def test_expand_to_an_input(target, tmp_path):
    graph = Graph()
    expanded = graph.node("Expand", graph.input("x", [1]), graph.input("shape", [2], I64))
    graph.node("ReduceSum", expanded, keepdims=0)
    session = compiled(graph, tmp_path, target)

    def run(*shape):
        (result,) = session.run({"x": np.full(1, 3, F32), "shape": np.array(shape, I64)}).values()
        return result

    assert run(2, 5) == 30
    assert run(1, 1) == 3
    assert run(0, 7) == 0
    for shape in [(-1, 3), (-5, -5)]:
        with pytest.raises(lathe.Error, match=r"node 'Expand_0': a dimension must not be negative: got shape\[0\]"):
            run(*shape)
    # The products of these wrap to zero, or to small numbers.
    for shape in [(1 << 32, 1 << 32), (1 << 62, 4), ((1 << 63) - 1, 2), (1 << 62, 0)]:
        with pytest.raises(lathe.Error, match=r"node 'Expand_0': expected at most 2\^46 elements: got shape \[shape\[0\], shape\[1\]\]"):
            run(*shape)
    assert run(4, 2) == 24


def test_slice_by_inputs(target, tmp_path):
    graph = Graph()
    x = graph.input("x", ["rows", 6])
    graph.node("Slice", x, graph.input("starts", [1], I64), graph.input("ends", [1], I64), [0])
    session = compiled(graph, tmp_path, target)
    random = np.random.default_rng(1)
    for rows, start, end in [(5, 1, 4), (5, -2, 100), (3, 2, 1), (7, 0, 7), (0, 0, 3), (4, -9, -1), (1, 0, 1)]:
        values = random.normal(size=(rows, 6)).astype(F32)
        (result,) = session.run({"x": values, "starts": np.array([start]), "ends": np.array([end])}).values()
        np.testing.assert_array_equal(result, values[start:end])


def test_reshape_by_an_input(target, tmp_path):
    graph = Graph()
    graph.node("Reshape", graph.input("x", ["rows", 6]), graph.input("shape", [2], I64))
    session = compiled(graph, tmp_path, target)
    random = np.random.default_rng(1)
    for rows, shape in [(3, (2, 9)), (2, (-1, 4)), (3, (0, 6)), (7, (0, -1)), (1, (6, 1)), (0, (0, 5))]:
        values = random.normal(size=(rows, 6)).astype(F32)
        size = [values.shape[i] if extent == 0 else extent for i, extent in enumerate(shape)]
        (result,) = session.run({"x": values, "shape": np.array(shape)}).values()
        np.testing.assert_array_equal(result, values.reshape(size))
    for shape in [(5, 5), (-2, 3), (-1, -1)]:
        with pytest.raises(lathe.Error, match="node 'Reshape_0'"):
            session.run({"x": np.ones((3, 6), F32), "shape": np.array(shape)})
