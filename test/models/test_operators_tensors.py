# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Every operator that moves, reduces or multiplies tensors equals ONNX Runtime."""

import numpy as np
import pytest
from graphs import BOOL, F32, F64, I8, I32, I64, SIZES, U8, Graph, check
from onnx import numpy_helper

import lathe

LARGEST = 2**63 - 1


TYPES = pytest.mark.parametrize("dtype", [F32, F64, I64, I8, U8, BOOL], ids=lambda t: np.dtype(t).name)


@TYPES
def test_movement(dtype, target, tmp_path):
    """Moving elements must not care what they are."""
    g = Graph()
    x, y = g.input("x", ["n", "m", 4], dtype), g.input("y", ["n", 2, 4], dtype)
    g.node("Transpose", x)
    g.node("Concat", x, y, x, axis=1)
    g.node("Slice", x, [-1], [-100], [2], [-2])
    g.node("Gather", x, np.array([[0, -1], [3, 1]]), axis=2)
    g.node("GatherElements", y, g.input("i", ["n", 3, 4], I64, (-2, 2)), axis=1)
    g.node("GatherND", g.node("Transpose", x, perm=[2, 0, 1]), np.array([[1], [-1]]))
    g.node("Expand", y, [2, 1, 1, 1])
    g.node("Tile", y, [2, 1, 3])
    g.node("Reshape", x, [0, -1])
    g.node("Split", x, axis=-1, count=2, num_outputs=2)
    g.node("Trilu", x)
    g.node("Where", np.array([True, False, True, True]), x, np.zeros(1, dtype))
    check(g, tmp_path, [(2, 3), (1, 1), (33, 7), (0, 3)], **target)


def test_transpose(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", "m", "k", 2]), g.input("y", ["n", "m"])
    for perm in ([0, 2, 1, 3], [3, 2, 1, 0], [1, 0, 2, 3], [0, 1, 2, 3], [2, 3, 0, 1]):
        g.node("Transpose", x, perm=perm)
    g.node("Transpose", y)
    g.node("Transpose", g.input("s", []))
    check(g, tmp_path, **target)


def test_reshapes(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", 4])
    one = g.input("one", ["n", 1, "m", 1])
    shape = g.node("Shape", x)
    n, m = g.node("Gather", shape, [0]), g.node("Gather", shape, [1])
    g.node("Reshape", x, [0, 0, 2, 2])
    g.node("Reshape", x, [0, -1, 4])
    g.node("Reshape", x, g.node("Concat", n, m, np.array([2, 2]), axis=0))
    g.node("Reshape", x, g.node("Concat", g.node("Mul", n, m), np.array([4]), axis=0))
    for axis in (0, 1, 2, 3, -1):
        g.node("Flatten", x, axis=axis)
    g.node("Squeeze", one, [1, -1])
    g.node("Squeeze", one, [3])
    g.node("Unsqueeze", x, [0, -1])
    g.node("Unsqueeze", x, [2])
    g.node("Unsqueeze", g.input("s", []), [0, 1])
    g.node("Size", x)
    g.node("Shape", x, start=1)
    g.node("Shape", x, start=-2, end=-1)
    g.node("Shape", x, start=2, end=1)
    g.node("Reshape", g.node("Exp", g.node("Reshape", g.node("Neg", x), [0, -1])), [0, -1, 2])
    check(g, tmp_path, [(2, 3), (1, 1), (33, 7), (3, 2)], **target)


def test_reshape_of_nothing(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 3])
    g.node("Reshape", x, [3, -1])
    g.node("Reshape", x, [0, 3], allowzero=0)
    g.node("Flatten", x)
    check(g, tmp_path, [(0,), (1,), (2,)], **target)


def test_squeeze_of_a_static_shape(target, tmp_path):
    g = Graph()
    x = g.input("x", [1, 3, 1])
    g.node("Squeeze", x)
    g.node("Identity", x)
    check(g, tmp_path, [()], **target)


def test_squeeze_of_extents_that_the_run_says(target, tmp_path):
    g = Graph()
    g.node("Squeeze", g.input("x", ["n", 1, "m", 1]))
    check(g, tmp_path, [(2, 3), (7, 33), (0, 2)], **target)
    session = lathe.load(tmp_path / "graph.lathe").session()
    with pytest.raises(lathe.Error, match="squeezing without axes leaves axis 2 where it is, .* give Squeeze its axes: got m"):
        session.run(g.feeds((2, 1)))


def test_expand_and_tile(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 1, 3]), g.input("y", ["m"])
    s = g.input("s", [])
    m = g.node("Shape", y)
    two = np.array([2])
    g.node("Expand", x, [1, 4, 1])
    g.node("Expand", x, [2, 1, 1, 1])
    g.node("Expand", x, [3])
    g.node("Expand", x, g.node("Concat", m, [3], axis=0))
    g.node("Expand", s, g.node("Concat", two, m, axis=0))
    g.node("Expand", y, g.node("Concat", two, m, axis=0))
    g.node("Expand", s, np.zeros(0, I64))
    g.node("Tile", x, [1, 1, 1])
    g.node("Tile", x, [2, 3, 2])
    g.node("Tile", y, m)
    g.node("Tile", y, [0])
    g.node("ConstantOfShape", m)
    g.node("ConstantOfShape", g.node("Concat", m, two, axis=0), value=numpy_helper.from_array(np.array([7])))
    g.node("ConstantOfShape", np.zeros(0, I64))
    check(g, tmp_path, **target)


def test_expand_known_at_run_time(target, tmp_path):
    """An input dimension that may be 1 or that of the target, which only the run knows."""
    g = Graph()
    x, like = g.input("x", ["n", "m"]), g.input("like", ["k", "m"])
    g.node("Expand", x, g.node("Shape", like))
    check(g, tmp_path, [(3, 2, 3), (1, 2, 1), (7, 33, 7)], **target)


def test_concat(target, tmp_path):
    g = Graph()
    x, y, z = g.input("x", ["n", "m"]), g.input("y", ["n", "k"]), g.input("z", ["n", 3])
    g.node("Concat", x, y, z, axis=1)
    g.node("Concat", x, axis=0)
    g.node("Concat", x, x, axis=0)
    g.node("Concat", *[z] * 20, axis=-1)
    joined = g.node("Concat", g.node("Exp", x), g.node("Neg", y), axis=-1)
    g.node("Slice", joined, [1], [-1], [1])
    g.node("Slice", g.node("Concat", joined, z, axis=1), [-3], [LARGEST], [1])
    check(g, tmp_path, **target)


def test_slice(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", 5])
    g.node("Slice", x, [1], [3])
    g.node("Slice", x, [0, 1], [LARGEST, 4], [1, 2])
    g.node("Slice", x, [-1], [-LARGEST], [1], [-1])
    g.node("Slice", x, [100, -2], [-100, 100], [2, 0], [-1, 2])
    g.node("Slice", x, [3, 0], [0, 2], [2, 1], [-2, 1])
    g.node("Slice", x, [2], [2], [-1])
    g.node("Slice", x, [4], [1], [-1])
    g.node("Slice", x, [-100], [-1], [1], [3])
    g.node("Slice", x, [0], [LARGEST], [0], [100])
    g.node("Slice", x, [LARGEST], [-LARGEST - 1], [-1], [-1])
    g.node("Slice", x, np.array([1], I32), np.array([2], I32), np.array([0], I32), np.array([1], I32))
    g.node("Slice", g.node("Shape", x), [0], [2])
    start = g.node("Sub", g.node("Gather", g.node("Shape", x), [1]), np.array([1]))
    g.node("Slice", x, start, [LARGEST], [1])
    g.node("Slice", x, [0], start, [0])
    g.node("Slice", g.node("Slice", x, [1], [LARGEST], [1]), [0], [-1], [1])
    check(g, tmp_path, **target)


def test_split(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 6]), g.input("y", ["m", 2])
    g.node("Split", x, axis=1, count=3, num_outputs=3)
    g.node("Split", x, [1, 5], axis=1, count=2)
    g.node("Split", x, [6, 0], axis=1, count=2)
    g.node("Split", y, count=2, num_outputs=2)
    a, b = g.node("Split", y, axis=1, count=2, num_outputs=2)
    g.node("Mul", g.node("Sigmoid", a), b)
    check(g, tmp_path, [(2, 6), (1, 2), (7, 33), (3, 3), (0, 4)], **target)


def test_gather(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 5, "m"])
    i, j = g.input("i", ["k", 2], I64, (-5, 5)), g.input("j", [], I32, (-5, 5))
    g.node("Gather", x, i, axis=1)
    g.node("Gather", x, j, axis=-2)
    g.node("Gather", x, [0, -1], axis=1)
    g.node("Gather", np.arange(20, dtype=F32).reshape(5, 4), i)
    g.node("Gather", g.node("Shape", x), np.array(1))
    # A table and indices that are computed
    g.node("Gather", g.node("Exp", g.node("Mul", x, x)), g.node("Sub", i, np.array(0)), axis=1)
    g.node("Gather", g.node("Softmax", x), i, axis=1)
    e = g.input("e", ["n", 3, "m"], I64, (-5, 5))
    g.node("GatherElements", x, e, axis=1)
    g.node("GatherElements", g.node("Tanh", x), e, axis=-2)
    check(g, tmp_path, **target)


def test_gather_nd(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 4, "m", 3])
    g.node("GatherND", x, g.input("a", ["n", "k", 1], I64, (-4, 4)), batch_dims=1)
    g.node("GatherND", g.node("Transpose", x, perm=[3, 1, 0, 2]), g.input("b", ["k", 2], I64, (-3, 3)))
    g.node(
        "GatherND",
        g.node("Transpose", x, perm=[0, 2, 3, 1]),
        g.input("c", ["n", "m", 2, 2], I64, (-3, 3)),
        batch_dims=2,
    )
    g.node("GatherND", np.arange(12).reshape(3, 4), g.input("d", ["k", 2, 2], I64, (-3, 3)))
    check(g, tmp_path, **target)


def test_indices_out_of_range(target, tmp_path):
    g = Graph()
    g.node("Gather", g.input("x", ["n", 3]), g.input("i", ["m"], I64, [0, -3, 3]), axis=1)
    lathe_path = tmp_path / "graph.lathe"
    check(g, tmp_path, [(2, 2), (1, 1)], **target)
    with pytest.raises(lathe.Error, match="Gather_0.*out of range"):
        lathe.load(lathe_path).session().run(g.feeds((2, 3)))


def test_range(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    n, m = (g.node("Gather", g.node("Shape", x), np.array(i)) for i in (0, 1))
    zero, one = np.array(0), np.array(1)
    g.node("Range", zero, n, one)
    g.node("Range", n, zero, np.array(-2))
    g.node("Range", m, g.node("Add", n, m), one)
    g.node("Range", zero, g.node("Mul", n, m), np.array(3))
    g.node("Range", np.int32(2), np.int32(9), np.int32(3))
    g.node("Range", np.float32(0), np.float32(1), np.float32(0.3))
    g.node("Add", g.node("Cast", g.node("Range", zero, m, one), to=1), x)
    g.node("Mul", g.node("Cast", m, to=1), x)
    check(g, tmp_path, **target)


def test_trilu(target, tmp_path):
    g = Graph()
    x, k = g.input("x", ["n", "m", "k"]), g.input("d", [], I64, (-2, 3))
    for upper in (0, 1):
        g.node("Trilu", x, upper=upper)
        g.node("Trilu", x, k, upper=upper)
        g.node("Trilu", x, np.array(-1), upper=upper)
        g.node("Trilu", g.input(f"i{upper}", [3, 4], I64), np.array(1), upper=upper)
    check(g, tmp_path, **target)


REDUCTIONS = [
    "ReduceSum",
    "ReduceMean",
    "ReduceMax",
    "ReduceMin",
    "ReduceProd",
    "ReduceL1",
    "ReduceL2",
    "ReduceSumSquare",
]
FULL = [(2, 3, 7), (1, 1, 1), (3, 7, 2), (7, 33, 3), (33, 1, 2)]


@pytest.mark.parametrize("name", REDUCTIONS)
def test_reduce(name, target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", "k"], values=(0.5, 1.5) if name == "ReduceProd" else None)
    for axes in ([-1], [0], [1], [0, 2], [1, -1], [0, 1, 2]):
        for keep in (0, 1):
            g.node(name, x, axes, keepdims=keep)
    g.node(name, x)
    g.node(name, x, keepdims=0)
    g.node(name, x, np.zeros(0, I64), noop_with_empty_axes=1)
    g.node(name, x, np.zeros(0, I64), keepdims=0)
    g.node(name, g.input("s", []))
    check(g, tmp_path, FULL, **target)


@pytest.mark.parametrize("dtype", [I64, I32, F64], ids=lambda t: np.dtype(t).name)
def test_reduce_types(dtype, target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"], dtype)
    for name in REDUCTIONS:
        if name not in ("ReduceMean", "ReduceL2") or dtype == F64:
            g.node(name, x, [1], keepdims=0)
            g.node(name, x, [0])
    check(g, tmp_path, [(2, 3), (1, 1), (7, 7), (33, 2)], **target)


def test_reduce_of_nothing(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    for name in ("ReduceSum", "ReduceProd", "ReduceL1", "ReduceSumSquare", "ReduceL2"):
        g.node(name, x, [1], keepdims=0)
    g.node("Softmax", x)
    g.node("CumSum", x, np.array(1))
    check(g, tmp_path, [(3, 0), (0, 3), (0, 0), (2, 2)], **target)


def test_reduce_axes_as_attribute(target, tmp_path):
    g = Graph(opset=13)
    x = g.input("x", ["n", "m", "k"])
    g.node("ReduceMean", x, axes=[-1])
    g.node("ReduceMax", x, axes=[0, 2], keepdims=0)
    g.node("ReduceSum", x, [1])
    check(g, tmp_path, FULL, **target)


def test_softmax_and_sums(target, tmp_path):
    g = Graph()
    x, i = g.input("x", ["n", "m", "k"]), g.input("i", ["n", "m"], I64)
    p = g.input("p", ["n", "m"], values=(0.5, 2.0))
    for axis in (-1, 0, 1):
        g.node("Softmax", x, axis=axis)
        g.node("LogSoftmax", x, axis=axis)
    g.node("ReduceLogSum", p, [1])
    g.node("Softmax", g.node("Mul", x, np.float32(100)))
    for axis in (0, -1):
        for exclusive in (0, 1):
            for reverse in (0, 1):
                g.node("CumSum", x, np.array(axis), exclusive=exclusive, reverse=reverse)
        g.node("CumSum", i, np.array([axis]) if axis else np.array(axis))
    check(g, tmp_path, FULL, **target)


def test_norms(target, tmp_path):
    g = Graph(opset=23)
    x = g.input("x", ["n", "m", 4])
    w, b = np.linspace(0.5, 1.5, 4, dtype=F32), np.linspace(-1, 1, 4, dtype=F32)
    y = g.input("y", ["n", 3, 4])
    square = np.linspace(0.5, 1.5, 12, dtype=F32).reshape(3, 4)
    g.node("LayerNormalization", x, w, b)
    g.node("LayerNormalization", x, w)
    g.node("LayerNormalization", y, square, square, axis=1, epsilon=1e-2)
    g.node("LayerNormalization", y, square, axis=-2)
    g.node("LayerNormalization", g.node("Add", x, np.float32(1000)), w, b)
    g.node("RMSNormalization", x, w)
    g.node("RMSNormalization", y, square, axis=1, epsilon=1e-2)
    g.node("LayerNormalization", g.input("d", ["n", 4], F64), w.astype(F64))
    check(g, tmp_path, [(2, 3), (1, 1), (33, 7)], **target)


MATRICES = [([4], [4]), ([4], [4, "n"]), (["m", 4], [4]), (["n", 4], [4, "m"]), (["k", "m", 4], [4]), ([4], ["k", 4, "m"]),
            (["k", "n", 4], [4, "m"]), (["n", 4], ["k", 4, "m"]), (["k", "n", "m"], ["k", "m", 3]), (["k", 1, "n", 4], [2, 4, "m"]),
            ([2, "k", "n", 4], [1, 1, 4, "m"]), ([2, 1, "k", "n", 4], ["m", 1, 4, "k"]), ([1, 2, 3, "n", 4], [2, 1, 3, 4, 5]),
            (["n", "m"], ["m", "k"]), (["n", 1, "m"], ["n", "m", "k"]), ([1, "n", "m"], ["k", "m", 2]), (["k", "m", 2], [1, 2, "n"])]  # fmt: skip


@pytest.mark.parametrize("dtype", [F32, F64, I64], ids=lambda t: np.dtype(t).name)
def test_matmul(dtype, target, tmp_path):
    g = Graph()
    for i, (a, b) in enumerate(MATRICES):
        g.node("MatMul", g.input(f"a{i}", a, dtype), g.input(f"b{i}", b, dtype))
    check(g, tmp_path, **target)


def test_matmul_of_high_rank(target, tmp_path):
    g = Graph()
    g.node("MatMul", g.input("a", [2, 1, "n", 2, "m", 3]), g.input("b", [3, 1, 2, 3, "k"]))
    check(g, tmp_path, **target)


def test_matmul_of_constants(target, tmp_path):
    w, b = np.random.default_rng(1).normal(size=(3, 4, 5)).astype(F32), np.arange(5, dtype=F32)
    g = Graph()
    x, y = g.input("x", ["n", "m", 4]), g.input("y", ["m", 4, "n"])
    g.node("MatMul", x, w[0])
    for name in ("Relu", "Tanh", "Sigmoid", "Gelu"):
        g.node(name, g.node("Add", g.node("MatMul", x, w[1]), b))
    g.node("Add", b, g.node("MatMul", x, w[2]))
    g.node("MatMul", x, g.node("Transpose", g.node("Transpose", w[0])))
    g.node("MatMul", g.node("Unsqueeze", x, [1]), w)
    g.node("MatMul", g.node("Transpose", y, perm=[0, 2, 1]), w[0])
    g.node("MatMul", w[0].T, y)
    shared = g.node("Add", g.node("MatMul", x, w[0]), b)
    g.node("Relu", shared)
    g.output(shared)
    g.node("MatMul", np.ones((5, 4), F32), w[1])
    check(g, tmp_path, **target)


def test_gemm(target, tmp_path):
    g = Graph()
    a, at, b, bt = g.input("a", ["n", "m"]), g.input("at", ["m", "n"]), g.input("b", ["m", 5]), g.input("bt", [5, "m"])
    row, column, full, s = g.input("row", [5]), g.input("column", ["n", 1]), g.input("full", ["n", 5]), g.input("s", [])
    g.node("Gemm", a, b)
    g.node("Gemm", at, b, row, transA=1)
    g.node("Gemm", a, bt, column, transB=1, alpha=0.5)
    g.node("Gemm", at, bt, full, transA=1, transB=1, beta=2.0)
    g.node("Gemm", a, b, s, alpha=-1.5, beta=0.25)
    g.node("Gemm", a, b, row, beta=0.0)
    g.node("Gemm", a, b, g.input("one", [1, 5]))
    g.node("Relu", g.node("Gemm", a, b, np.arange(5, dtype=F32)))
    check(g, tmp_path, [s for s in SIZES if s[1]], **target)  # of empty products ONNX Runtime forgets beta
