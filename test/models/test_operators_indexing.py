# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Scatters, the best of an axis, and operators made of positions equal ONNX Runtime."""

import numpy as np
import pytest
from graphs import BOOL, F16, F32, F64, I8, I32, I64, U8, Graph, check

import lathe


def distinct(random, shape):
    """Numbers without ties, so that their order is one."""
    return random.permutation(int(np.prod(shape))).reshape(shape) - 3


def permuted(count):
    """Indices below `count` that are distinct along the last axis."""
    return lambda random, shape: np.argsort(random.random([*shape[:-1], count]))[..., : shape[-1]]


TYPES = pytest.mark.parametrize("dtype", [F32, F64, F16, I64, I8, U8, BOOL], ids=lambda t: np.dtype(t).name)


@TYPES
def test_scatter_assigns(dtype, target, tmp_path):
    g = Graph(18)
    x = g.input("x", ["n", "m", 5], dtype)
    g.node("ScatterElements", x, g.input("i", ["n", "m", 3], I64, permuted(5)), g.input("u", ["n", "m", 3], dtype), axis=-1)
    # Off the axis the indices may be fewer than the elements.
    short = g.node("Slice", g.input("j", ["n", "m", 4], I64, permuted(5)), [0], [2147483647], [0], [2])
    g.node("ScatterElements", x, short, g.node("Slice", g.input("v", ["n", "m", 4], dtype), [0], [2147483647], [0], [2]), axis=2)
    g.node("ScatterND", x, np.array([[[-1]]]), g.input("w", [1, 1, "m", 5], dtype))
    g.node("ScatterND", g.node("Transpose", x, perm=[2, 0, 1]), np.array([[0], [-2], [3]]), g.input("z", [3, "n", "m"], dtype))
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (1, 0)], **target)


@pytest.mark.parametrize("dtype", [F32, F64, I64, I32], ids=lambda t: np.dtype(t).name)
@pytest.mark.parametrize("reduction", ["add", "mul", "max", "min"])
def test_scatter_combines(reduction, dtype, target, tmp_path):
    """Indices may repeat."""
    g = Graph(18)
    x = g.input("x", [4, "n"], dtype)
    g.node("ScatterElements", x, g.input("i", ["m", "n"], I64, (-4, 4)), g.input("u", ["m", "n"], dtype), axis=0, reduction=reduction)
    g.node("ScatterND", x, g.input("j", ["m", 1], I64, (-4, 4)), g.input("v", ["m", "n"], dtype), reduction=reduction)
    check(g, tmp_path, [(1, 1), (3, 7), (33, 2), (3, 0), (0, 2)], **target)


def test_scatter_checks_indices(target, tmp_path):
    import onnx

    for op, indices in (("ScatterElements", ["n", 2]), ("ScatterND", ["n", 1])):
        g = Graph(18)
        x, u = g.input("x", ["n", 2]), g.input("u", ["n", 2])
        g.node(op, x, g.input("i", indices, I64), u)
        onnx.save(g.model(), tmp_path / "graph.onnx")
        session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
        feeds = {"x": np.zeros((3, 2), F32), "u": np.zeros((3, 2), F32), "i": np.zeros((3, indices[1]), I64)}
        session.run(feeds)
        for bad in (3, -4, 2**40):
            feeds["i"] = np.full((3, indices[1]), bad, I64)
            with pytest.raises(lathe.Error, match="out of range"):
                session.run(feeds)


def test_tuples_of_a_length_that_ranks_say(target, tmp_path):
    import onnx

    g = Graph(18)
    x, i = g.input("x", [3, 4]), g.input("i", ["n", "k"], I64)
    scattered = g.node("ScatterND", x, i, g.input("u", ["n"]))
    gathered = g.node("GatherND", x, i)
    g.output(scattered, gathered)
    model = g.model()
    model.graph.output[1].type.tensor_type.shape.dim.add().dim_param = "n"
    onnx.save(model, tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    x = np.arange(12, dtype=F32).reshape(3, 4)
    for n in (2, 1, 0):
        indices = np.array([[2, 1], [0, -1]], I64)[:n]
        result = session.run({"x": x, "i": indices, "u": np.full(n, 50, F32)})
        expected = x.copy()
        expected[tuple(indices.T)] = 50
        np.testing.assert_array_equal(result[scattered], expected)
        np.testing.assert_array_equal(result[gathered], x[tuple(indices.T)])
    with pytest.raises(lathe.Error, match="expects tuples of 2 indices, as the ranks say"):
        session.run({"x": x, "i": np.zeros((2, 3), I64), "u": np.zeros(2, F32)})


def test_refused(tmp_path):
    import onnx

    def message(g):
        onnx.save(g.model(), tmp_path / "graph.onnx")
        with pytest.raises(lathe.Error) as caught:
            lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
        return str(caught.value)

    g = Graph(18)
    g.node("ScatterND", g.input("x", [3, 4]), g.input("i", [2, "k"], I64), g.input("u", [2, 4, 5]))
    assert "expects tuples of at least one index" in message(g)
    g = Graph(18)
    g.node("GatherND", g.input("x", [3, 4]), g.input("i", [2, "k"], I64))
    assert "the model doesn't declare the result's rank" in message(g)
    g = Graph(18)
    g.node("ScatterElements", g.input("x", [3, 4]), g.input("i", [3, 1], I64), g.input("u", [3, 2]))
    assert "expects updates of the shape of the indices" in message(g)


@pytest.mark.parametrize("dtype", [F32, F64, F16, I64, I32, U8], ids=lambda t: np.dtype(t).name)
def test_best(dtype, target, tmp_path):
    g = Graph(18)
    x = g.input("x", ["n", "m", 5], dtype, distinct)
    tied = g.input("t", ["n", "m", 5], dtype, (0, 3))
    g.node("TopK", x, [2], count=2)
    g.node("TopK", x, [5], count=2, largest=0)
    g.node("TopK", x, [1], count=2, axis=-2)
    for value in (x, tied):
        for axis in (-1, 1):
            g.node("ArgMax", value, axis=axis)
            g.node("ArgMin", value, axis=axis, keepdims=0)
    g.node("ArgMax", tied, axis=2, select_last_index=1)
    if dtype in (F32, F64):
        g.node("Hardmax", tied, axis=1)
    # Not where n is 0: there ONNX Runtime gives arguments a shape that was not reduced.
    check(g, tmp_path, [(2, 3), (1, 1), (7, 6)], **target)


def test_top_k_of_a_dimension(target, tmp_path):
    """k may be an extent, and an element of an input."""
    g = Graph(18)
    x = g.input("x", ["n", "m"], F32, distinct)
    g.node("TopK", x, g.node("Shape", x, start=1, end=2), count=2)
    g.node("TopK", x, g.input("k", [1], I64, [1]), count=2, axis=1)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7), (0, 2)], **target)


def test_top_k_is_at_most_the_extent(target, tmp_path):
    import onnx

    g = Graph(18)
    g.node("TopK", g.input("x", ["n"]), [3], count=2)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    session.run({"x": np.zeros(3, F32)})
    with pytest.raises(lathe.Error, match="k must be at most the extent"):
        session.run({"x": np.zeros(2, F32)})


def test_nan_is_the_largest(target, tmp_path):
    import onnx

    g = Graph(18)
    g.node("TopK", g.input("x", [5]), [5], count=2)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    outputs = session.run({"x": np.array([1, np.nan, np.inf, np.nan, -np.inf], F32)})
    assert outputs["topk_0_1"].tolist() == [1, 3, 2, 0, 4]


def test_positions(target, tmp_path):
    g = Graph(22)
    x, i = g.input("x", ["n", "m", 3]), g.input("i", ["n", "m"], I64, (-6, 6))
    g.node("OneHot", i, 4, np.array([-1.5, 2], F32))
    g.node("OneHot", i, np.array([4]), np.array([0, 1]), axis=0)
    g.node("OneHot", i, g.node("Shape", x, start=1, end=2), np.array([2, 3], F32), axis=-2)
    g.node("EyeLike", i, k=1)
    g.node("EyeLike", i, k=-1, dtype=1)
    g.node("ReverseSequence", x, g.input("a", ["n"], I64, lambda r, s: r.integers(0, 2, s)), batch_axis=0, time_axis=1)
    g.node("ReverseSequence", x, g.input("b", ["m"], I64, lambda r, s: r.integers(0, 2, s)))
    g.node("Trilu", g.input("l", [2, "n", "m"], I64), -1, upper=0)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (0, 3), (3, 0)], **target)


def test_reverse_whole_sequences(target, tmp_path):
    g = Graph(22)
    x = g.input("x", ["n", 4, 3], I32)
    g.node("ReverseSequence", x, g.input("a", ["n"], I64, [4, 0, 3, 1]), batch_axis=0, time_axis=1)
    check(g, tmp_path, [(2,), (1,), (7,)], **target)


def test_selections_of_constants(target, tmp_path):
    g = Graph(22)
    x = g.input("x", ["n", 4])
    g.node("Add", x, g.node("Cast", g.node("Size", g.node("NonZero", np.array([[1, 0], [-1, 2]]))), to=1))
    g.node("Gather", x, g.node("NonZero", np.array([0.0, 1.0, np.nan, 0.0], F32)), axis=1)
    g.node("Compress", x, np.array([True, False, True]), axis=1)
    g.node("Compress", g.input("y", [2, 3]), np.array([False, True, True, False, True]))
    check(g, tmp_path, [(2,), (1,), (0,), (7,)], **target)
