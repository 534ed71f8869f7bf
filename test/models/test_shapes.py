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


# Shapes that the run computes: the oracle is numpy, as the sizes are not those of the inputs.


def test_range_to_a_sum(target, tmp_path):
    graph = Graph()
    count = graph.node("ReduceSum", graph.input("counts", ["n"], I64), keepdims=0)
    numbers = graph.node("Range", graph.constant(0), count, graph.constant(1))
    graph.node("Mul", numbers, numbers)
    graph.node("ReduceSum", numbers, keepdims=0)
    session = compiled(graph, tmp_path, target)
    for counts in [[3, 4], [1], [0, 0], [], [500, 700, 3], [2, -2], [5, -9]]:
        squares, total = session.run({"counts": np.array(counts, I64)}).values()
        expected = np.arange(sum(counts))
        np.testing.assert_array_equal(squares, expected**2)
        assert total == expected.sum()


def test_computed_slices_feed_computed_slices(target, tmp_path):
    graph = Graph()
    x = graph.input("x", ["n", 4])
    largest = graph.node("ReduceMax", graph.input("lengths", ["m"], I64), keepdims=1)
    kept = graph.node("Slice", x, graph.constant([0]), largest, graph.constant([0]))
    positive = graph.node("Cast", graph.node("Greater", kept, graph.constant(0, F32)), to=7)
    rows = graph.node("ReduceSum", positive, graph.constant([0, 1]), keepdims=0)
    scaled = graph.node("Mul", kept, graph.constant(2, F32))
    again = graph.node("Slice", scaled, graph.constant([0]), graph.node("Unsqueeze", rows, graph.constant([0])), [0])
    graph.node("Softmax", graph.node("Add", again, graph.input("bias", [4])))
    session = compiled(graph, tmp_path, target)
    random = np.random.default_rng(3)
    for n, lengths in [(9, [2, 5, 1]), (9, [9]), (3, [77, 1]), (4, [0]), (1, [1]), (0, [3])]:
        feeds = {
            "x": random.normal(size=(n, 4)).astype(F32),
            "lengths": np.array(lengths),
            "bias": random.normal(size=4).astype(F32),
        }
        (result,) = session.run(feeds).values()
        kept = feeds["x"][: max(lengths)]
        again = np.exp(2 * kept[: (kept > 0).sum()] + feeds["bias"])
        np.testing.assert_allclose(result, again / again.sum(1, keepdims=True), rtol=1e-5)


def test_matmul_of_a_computed_size(target, tmp_path):
    graph = Graph()
    x = graph.input("x", ["n", 8])
    count = graph.node("ReduceSum", graph.input("mask", ["n"], I64), keepdims=1)
    kept = graph.node("Slice", x, graph.constant([0]), count, graph.constant([0]))
    weight = np.random.default_rng(0).normal(size=(8, 5)).astype(F32)
    graph.node("Relu", graph.node("MatMul", kept, weight))
    graph.node("MatMul", kept, graph.node("Transpose", kept, perm=[1, 0]))
    session = compiled(graph, tmp_path, target)
    for n, count in [(7, 3), (33, 33), (2, 0), (1, 1), (129, 64)]:
        x = np.random.default_rng(n).normal(size=(n, 8)).astype(F32)
        relu, square = session.run({"x": x, "mask": (np.arange(n) < count).astype(I64)}).values()
        np.testing.assert_allclose(relu, np.maximum(x[:count] @ weight, 0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(square, x[:count] @ x[:count].T, rtol=1e-4, atol=1e-5)


def test_computed_shapes_that_are_not_possible(target, tmp_path):
    graph = Graph()
    shape = graph.node("Mul", graph.input("sizes", ["n"], I64), graph.constant(2))
    rows = graph.node("ReduceSum", shape, keepdims=1)
    expanded = graph.node("Expand", graph.input("x", [1]), rows)
    graph.node("Add", expanded, graph.input("y", ["m"]))
    session = compiled(graph, tmp_path, target)

    def run(sizes, m):
        (result,) = session.run({"sizes": np.array(sizes), "x": np.ones(1, F32), "y": np.zeros(m, F32)}).values()
        return result.tolist()

    assert run([1, 1], 4) == [1.0] * 4
    with pytest.raises(lathe.Error, match="node 'Add_3': operands of an elementwise operation must"):
        run([1, 2], 4)
    with pytest.raises(lathe.Error, match="node 'Expand_2': a dimension must not be negative"):
        run([-3], 4)
    assert run([2, 1], 6) == [1.0] * 6


@pytest.mark.parametrize("dims, dtype", [(["n"], np.bool_), (["n", 3], F32), (["n", "m", 2], I64), ([], F32)])
def test_nonzero(target, dims, dtype, tmp_path):
    graph = Graph()
    found = graph.node("NonZero", graph.input("x", dims, dtype))
    graph.node("Neg", found)
    if dims:  # what is read at the places that were found: as many as there are
        graph.node("GatherND", "x", graph.node("Transpose", found, perm=[1, 0]))
    session = compiled(graph, tmp_path, target)
    random = np.random.default_rng(2)
    for n, m in [(4, 3), (1, 1), (0, 2), (33, 5), (2, 0)]:
        shape = [{"n": n, "m": m}.get(dim, dim) for dim in dims]
        for share in (0, 0.4, 1):
            x = (random.random(shape) < share).astype(dtype) * np.asarray(3, dtype)
            negated, *read = session.run({"x": x}).values()
            np.testing.assert_array_equal(-negated, np.nonzero(np.atleast_1d(x)))
            if dims:
                np.testing.assert_array_equal(read[0], x[np.nonzero(x)])


@pytest.mark.parametrize("axis", [None, 0, 1])
def test_compress(target, axis, tmp_path):
    graph = Graph()
    attributes = {} if axis is None else {"axis": axis}
    graph.node("Compress", graph.input("x", ["n", "m"]), graph.input("keep", ["k"], np.bool_), **attributes)
    session = compiled(graph, tmp_path, target)
    random = np.random.default_rng(2)
    for n, m in [(4, 3), (1, 1), (33, 5)]:
        x = random.normal(size=(n, m)).astype(F32)
        for length in {x.size if axis is None else x.shape[axis], 1}:
            keep = random.random(length) < 0.6
            (result,) = session.run({"x": x, "keep": keep}).values()
            np.testing.assert_array_equal(result, np.compress(keep, x, axis))
