# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Quantized operators equal ONNX Runtime."""

import numpy as np
import onnx
import pytest
from graphs import F16, F32, I8, I16, I32, U8, Graph, check

import lathe

U16 = np.uint16
BYTES = [(U8, U8), (U8, I8), (I8, I8), (I8, U8)]


def full(dtype):
    """All of a type's values."""
    info = np.iinfo(dtype)
    return lambda random, shape: random.integers(info.min, info.max, shape, endpoint=True)


def test_per_tensor(target, tmp_path):
    g = Graph(21)
    x = g.input("x", ["n", "m"], values=(-300.0, 300.0))
    for dtype in (U8, I8, U16, I16):
        scale, zero = np.float32(0.7 if dtype in (U8, I8) else 0.007), dtype(3)
        q = g.node("QuantizeLinear", x, scale, zero)
        g.output(q)
        g.node("DequantizeLinear", q, scale, zero)
    q = g.node("QuantizeLinear", x, np.array([0.7], F32))
    g.output(q)
    g.node("DequantizeLinear", q, np.array([0.7], F32))
    g.node("QuantizeLinear", x, g.input("s", [], F32, [1.25]), g.input("z", [], U8, [7]))
    g.node("DequantizeLinear", g.input("i", ["n", "m"], I32), np.float32(0.01))
    check(g, tmp_path, **target)


def test_ties_and_bounds(target, tmp_path):
    g = Graph(21)
    x = g.input("x", ["n"], values=[0.5, 1.5, 2.5, -0.5, -1.5, 1e9, -1e9, 127.5, 128.5, 255.5, -128.5, -129.5])
    for dtype in (U8, I8, U16, I16):
        g.node("QuantizeLinear", x, np.float32(1), dtype(0))
        g.node("QuantizeLinear", x, np.float32(2), dtype(1))
    check(g, tmp_path, [{"n": n} for n in (12, 1, 0, 33)], **target)


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_per_axis(target, axis, tmp_path):
    g = Graph(21)
    x = g.input("x", ["n", "m", "k"])
    dim = ["n", "m", "k"][axis]
    scale, zero = g.input("s", [dim], F32, (0.05, 0.2)), g.input("z", [dim], I8, (-5, 5))
    q = g.node("QuantizeLinear", x, scale, zero, axis=axis)
    g.output(q)
    g.node("DequantizeLinear", q, scale, zero, axis=axis)
    check(g, tmp_path, [(2, 3, 7), (7, 33, 3), (2, 5, 4), (3, 2, 2)], **target)


@pytest.mark.parametrize("axis", [0, 1])
def test_blocked(target, axis, tmp_path):
    g = Graph(21)
    dims = ["3*n", "m"] if axis == 0 else ["n", "3*m"]
    x = g.input("x", dims)
    scale, zero = g.input("s", ["n", "m"], F32, (0.05, 0.2)), g.input("z", ["n", "m"], U8, (0, 9))
    q = g.node("QuantizeLinear", x, scale, zero, axis=axis, block_size=3)
    g.output(q)
    g.node("DequantizeLinear", q, scale, zero, axis=axis, block_size=3)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (5, 1)], **target)


def test_dynamic(target, tmp_path):
    g = Graph()
    g.node("DynamicQuantizeLinear", g.input("x", ["n", "m"]), count=3)
    g.node("DynamicQuantizeLinear", g.input("y", ["n"], F32, (2.0, 5.0)), count=3)
    g.node("DynamicQuantizeLinear", g.input("z", ["n"], F32, (-5.0, -2.0)), count=3)
    g.node("DynamicQuantizeLinear", g.input("w", ["n"], F32, [0.0]), count=3)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (33, 2)], **target)


@pytest.mark.parametrize("a, b", BYTES, ids=lambda t: t.__name__)
def test_matmul_integer(target, a, b, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 2, "m", "k"], a, full(a))
    y = g.input("y", ["k", 5], b, full(b))
    g.node("MatMulInteger", x, y)
    g.node("MatMulInteger", x, y, a(3), b(4))
    g.node("MatMulInteger", x, y, a(3), g.input("z", [5], b, full(b)))
    g.node("MatMulInteger", g.input("v", ["m", "k"], a, full(a)), np.arange(35, dtype=b).reshape(7, 5), a(1))
    check(g, tmp_path, [(2, 3, 7), (1, 1, 7), (7, 33, 7), (0, 3, 7)], **target)


def test_matmul_integer_of_long_rows(target, tmp_path):
    """Sums that f32 would round."""
    g = Graph()
    x, y = g.input("x", ["n", 700], U8, (200, 256)), g.input("y", [700, 5], I8, (-128, -90))
    g.node("MatMulInteger", x, y)
    g.node("MatMulInteger", x, y, U8(1), I8(127))
    check(g, tmp_path, [(2,), (1,), (33,), (0,)], **target)


@pytest.mark.parametrize("a, b", BYTES[:3], ids=lambda t: t.__name__)
def test_qlinear_matmul(target, a, b, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", "m", "k"], a, full(a)), g.input("y", ["k", 5], b, full(b))
    columns = g.input("s", [5], F32, (0.01, 0.03))
    one, zero = np.float32(0.02), a(4)
    if b == I8:
        zeros = g.input("z", [5], b, [0])
        g.node("QLinearMatMul", x, one, zero, y, columns, zeros, np.float32(1.7), a(2))
    g.node("QLinearMatMul", x, one, zero, y, np.float32(0.03), b(1), np.float32(1.7), a(2))
    check(g, tmp_path, [(2, 3, 7), (1, 1, 1), (7, 33, 3), (33, 1, 2)], **target)


def test_quantized_layer(target, tmp_path):
    """As exporters write it: everything between quantized and back."""
    random = np.random.default_rng(0)
    g = Graph(21)
    x = g.input("x", ["n", "m", 16])
    q = g.node("DequantizeLinear", g.node("QuantizeLinear", x, np.float32(0.05), U8(128)), np.float32(0.05), U8(128))
    weight, scale = random.integers(-127, 128, (16, 24), I8), random.uniform(0.001, 0.01, 24).astype(F32)
    w = g.node("DequantizeLinear", weight, scale, np.zeros(24, I8), axis=1)
    bias = g.node("DequantizeLinear", random.integers(-999, 999, 24, I32), scale, np.zeros(24, I32), axis=0)
    y = g.node("Relu", g.node("Add", g.node("MatMul", q, w), bias))
    g.node("DequantizeLinear", g.node("QuantizeLinear", y, np.float32(0.02), U8(0)), np.float32(0.02), U8(0))
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (0, 3)], allowed=1e-2, **target)


def test_half(target, tmp_path):
    g = Graph(21)
    x = g.input("x", ["n", "m"], F16)
    q = g.node("QuantizeLinear", x, F16(0.125), I8(3))
    g.output(q)
    g.node("DequantizeLinear", q, F16(0.125), I8(3))
    check(g, tmp_path, [(2, 3), (7, 33), (0, 2)], **target)


@pytest.mark.parametrize(
    "message, build",
    [
        ("expects a scale of shape", lambda g, x: g.node("QuantizeLinear", x, np.ones(3, F32), axis=1)),
        ("expects a zero point of the scale's shape", lambda g, x: g.node("QuantizeLinear", x, np.ones(4, F32), U8(1))),
        ("expects an axis within rank", lambda g, x: g.node("QuantizeLinear", x, np.ones(4, F32), axis=2)),
        ("expects a block size of at least 1", lambda g, x: g.node("QuantizeLinear", x, np.ones((2, 2), F32), block_size=-2)),
        ("output_dtype STRING is not supported", lambda g, x: g.node("QuantizeLinear", x, np.float32(1), output_dtype=8)),
        ("expects quantized values", lambda g, x: g.node("QuantizeLinear", x, np.float32(1), output_dtype=7)),
        ("expects integers of 8 bits", lambda g, x: g.node("MatMulInteger", x, g.input("y", [4, 2]))),
    ],
)
def test_refusals(message, build, tmp_path):
    g = Graph(21)
    build(g, g.input("x", [2, 4]))
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=message):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")


def test_scales_with_axes_of_one(target, tmp_path):
    """As NNCF writes those of a convolution's weights."""
    random = np.random.default_rng(0)
    weight, scale = random.integers(-128, 128, (4, 3, 2)).astype(I8), random.uniform(0.1, 1, (4, 1, 1)).astype(F32)
    zero = random.integers(-9, 9, (4, 1, 1)).astype(I8)
    g = Graph(21)
    y = g.node("Add", g.input("x", ["n", 4, 3, 2]), g.node("DequantizeLinear", weight, scale, zero, axis=0))
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    for n in (1, 0, 3):
        x = random.standard_normal((n, 4, 3, 2), F32)
        expected = x + (weight.astype(F32) - zero) * scale
        np.testing.assert_allclose(session.run({"x": x})[y], expected, rtol=1e-5, atol=1e-4)
