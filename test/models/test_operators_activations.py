# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Activations, trigonometric functions, operators on bits and the like equal ONNX Runtime."""

import numpy as np
import onnx
import pytest
from graphs import BOOL, F32, F64, I32, I64, U8, Graph, check
from test_operators import EXTREMES, VECTOR

import lathe

U16, U32, U64 = np.uint16, np.uint32, np.uint64


def activations(g, x):
    for name in ("Elu", "Selu", "Celu", "LeakyRelu", "ThresholdedRelu", "HardSigmoid", "Softplus", "Softsign"):
        g.node(name, x)
    for name in ("HardSwish", "Mish", "Shrink"):
        g.node(name, x)
    g.node("Elu", x, alpha=2.5)
    g.node("Selu", x, alpha=0.5, gamma=3.0)
    g.node("Celu", x, alpha=0.25)
    g.node("LeakyRelu", x, alpha=-0.5)
    g.node("ThresholdedRelu", x, alpha=0.25)
    g.node("HardSigmoid", x, alpha=0.7, beta=-0.1)
    g.node("Shrink", x, bias=0.25, lambd=1.5)
    g.node("PRelu", x, np.array([0.25], F32))


def test_activations(target, tmp_path):
    g = Graph()
    activations(g, g.input("x", ["n", "m"]))
    check(g, tmp_path, **target)


def test_activations_near_zero(target, tmp_path):
    """Where exp(x) - 1 and log(1 + x) lose their digits."""
    g = Graph()
    x = g.input("x", ["n"], values=[1e-3, -1e-3, 1e-5, -1e-5, -2e-7, 1e-9, -1e-9, 0.0])
    activations(g, x)
    for name in ("Sinh", "Asinh", "Atanh", "Atan", "Tan", "Asin"):
        g.node(name, x)
    check(g, tmp_path, VECTOR, allowed=1e-3, **target)


def test_activations_extremes(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n"], values=EXTREMES)
    for name in ("Elu", "LeakyRelu", "HardSigmoid", "Atan", "Asinh"):
        g.node(name, x)
    check(g, tmp_path, VECTOR, **target)


def test_slopes(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", "k"])
    g.node("PRelu", x, g.input("a", ["k"]))
    g.node("PRelu", x, g.input("b", ["m", 1]))
    g.node("PRelu", g.input("i", ["n", "m"], I32), g.input("s", ["m"], I32))
    check(g, tmp_path, [(2, 3, 7), (1, 1, 1), (7, 33, 3), (2, 0, 3), (0, 3, 2)], **target)


@pytest.mark.parametrize("dtype", [F32, F64], ids=["f32", "f64"])
def test_trigonometry(target, dtype, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"], dtype, (-9.0, 9.0))
    for name in ("Tan", "Atan", "Sinh", "Cosh", "Asinh"):
        g.node(name, x)
    inside = g.input("y", ["n", "m"], dtype, (-1.0, 1.0))
    for name in ("Asin", "Acos", "Atanh"):
        g.node(name, inside)
    g.node("Acosh", g.input("z", ["n", "m"], dtype, (1.0, 50.0)))
    check(g, tmp_path, **target)


def test_trigonometry_at_the_ends(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n"], values=[1.0, -1.0, 0.0, -0.0, 0.99999994, 1.5, np.inf, -np.inf, np.nan])
    for name in ("Asin", "Acos", "Atanh"):
        g.node(name, x)
    g.node("Acosh", g.input("y", ["n"], values=[1.0, 1.0000001, 1e4, 2e10, 3e38, 0.5, np.inf, np.nan]))
    g.node("Asinh", g.input("z", ["n"], values=[2e10, -2e10, 3e18, 2e4, 1.0]))
    for name in ("Sinh", "Cosh"):
        g.node(name, g.input(name, ["n"], values=[89.2, -89.2, 80.0, 95.0, -95.0, np.inf, -np.inf, np.nan]))
    check(g, tmp_path, VECTOR, **target)


def test_bits(target, tmp_path):
    g = Graph()
    for dtype in (U8, U16, U32, U64):
        x = g.input(f"x{dtype.__name__}", ["n", "m"], dtype, (0, 256))
        y = g.input(f"y{dtype.__name__}", ["m"], dtype, (0, 8))
        for direction in ("LEFT", "RIGHT"):
            g.node("BitShift", x, y, direction=direction)
    for dtype in (U8, I32, I64, np.int16):
        x = g.input(f"a{dtype.__name__}", ["n", "m"], dtype, (0, 100))
        y = g.input(f"b{dtype.__name__}", ["m"], dtype, (0, 100))
        for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            g.node(name, x, y)
        g.node("BitwiseNot", x)
    check(g, tmp_path, **target)


def test_reductions_by_logarithms(target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", "m", "k"])
    g.node("ReduceLogSumExp", x, [1])
    g.node("ReduceLogSumExp", x, [-1, 0], keepdims=0)
    g.node("ReduceLogSumExp", g.node("Mul", x, np.float32(100)), [2], keepdims=0)
    g.node("ReduceLogSum", g.node("Abs", x), [1])
    b = g.input("b", ["n", "m"], BOOL)
    g.node("ReduceMax", b, [1])
    g.node("ReduceMin", b, [0], keepdims=0)
    check(g, tmp_path, [(2, 3, 7), (1, 1, 1), (7, 33, 3), (33, 1, 2)], **target)


def test_largest_of_infinities(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 3], values=[np.inf, 1, 2, -np.inf, 0, 1, -np.inf, -np.inf, -np.inf])
    g.node("ReduceLogSumExp", x, [1])
    check(g, tmp_path, [{"n": 3}, {"n": 1}], **target)


@pytest.mark.parametrize("axis", [-1, 0, 1])
def test_hardmax(target, axis, tmp_path):
    g = Graph()
    g.node("Hardmax", g.input("x", ["n", "m", "k"], F32, lambda r, s: r.integers(0, 4, s)), axis=axis)
    check(g, tmp_path, [(2, 3, 7), (1, 1, 1), (7, 33, 3), (33, 1, 2)], **target)


def test_dropout_mask(target, tmp_path):
    g = Graph()
    g.node("Dropout", g.input("x", ["n", "m"]), count=2)
    check(g, tmp_path, **target)


def test_half_activations(target, tmp_path):
    """In f16 against the same in f32."""

    def graph(dtype):
        g = Graph()
        x = g.node("Cast", g.node("Cast", g.input("x", ["n", "m"]), to=10), to=dtype)
        for name in ("Elu", "Softplus", "Mish", "LeakyRelu", "Atan", "Sinh"):
            g.node("Cast", g.node(name, x), to=1)
        return g

    check(graph(10), tmp_path, [(2, 3, 7), (7, 33, 3)], reference=graph(1), allowed=2e-3, **target)


@pytest.mark.parametrize(
    "message, build",
    [
        ("random numbers are not supported", lambda g: g.node("RandomNormalLike", g.input("x", ["n"]))),
        ("expects floats", lambda g: g.node("Elu", g.input("x", ["n"], I32))),
        ("expects unsigned integers", lambda g: g.node("BitShift", g.input("x", ["n"], I32), [1], direction="LEFT")),
        ("expects direction to be LEFT or RIGHT", lambda g: g.node("BitShift", g.input("x", ["n"], U8), np.uint8(1))),
        ("expects integers", lambda g: g.node("BitwiseNot", g.input("x", ["n"]))),
        ("expects booleans", lambda g: g.node("And", g.input("x", ["n"], I64), g.input("y", ["n"], I64))),
        ("broadcasts to the input", lambda g: g.node("PRelu", g.input("x", [3]), g.input("y", [2, 3]))),
    ],
)
def test_refusals(message, build, tmp_path):
    g = Graph()
    build(g)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=message):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
