# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Every elementwise operator, on every type, equals ONNX Runtime."""

import math

import numpy as np
import onnx
import pytest
from graphs import BF16, BOOL, F16, F32, F64, I8, I16, I32, I64, U8, Graph, check, onnx_type

import lathe

INFINITY, NAN = np.inf, np.nan
# Values at which functions overflow, underflow, or change their formula.
EXTREMES = [0.0, -0.0, 1e-40, -1e-20, 1e-5, 0.5, -0.5, 1.5, 2.5, -2.5, 5.0, -9.0, 20.0, 87.0, 88.5, 89.0, -87.0, -88.0,
            -103.0, -110.0, 1e4, -1e4, 1e30, -1e30, INFINITY, -INFINITY, NAN]  # fmt: skip
FULL = [(2, 3, 7), (1, 1, 1), (7, 33, 3), (33, 7, 2)]
VECTOR = [{"n": n} for n in (27, 1, 2, 0, 33)]
FLOAT_UNARY = [
    "Sqrt",
    "Reciprocal",
    "Exp",
    "Log",
    "Erf",
    "Tanh",
    "Sin",
    "Cos",
    "Sigmoid",
    "Floor",
    "Ceil",
    "Round",
    "Gelu",
]


def unary(g, x, names):
    for name in names:
        if name == "Gelu":
            g.node(name, x, approximate="tanh")
        g.node(name, x)


def test_unary(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    unary(g, x, FLOAT_UNARY + ["Neg", "Abs", "Sign", "Relu", "IsNaN", "IsInf", "Identity"])
    check(g, tmp_path, **target)


@pytest.mark.parametrize(
    "names", [["Exp", "Log", "Sqrt", "Reciprocal"], ["Erf", "Tanh", "Sigmoid", "Gelu"]], ids="-".join
)
def test_unary_extremes(target, names, tmp_path):
    """Each in a graph of its own scale: an error beside 1e30 would pass unseen."""
    g = Graph()
    x = g.input("x", ["n"], values=EXTREMES)
    y = g.node("Clip", x, np.float32(-30), np.float32(30))
    small = g.node("Where", g.node("IsNaN", y), np.float32(0.1), y)
    unary(g, x, names)
    unary(g, small, names)
    check(g, tmp_path, VECTOR, **target)


def test_special_values(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n"], values=EXTREMES)
    y = g.input("y", ["n"], values=EXTREMES[::-1] + [1.0])
    unary(g, x, ["Neg", "Abs", "Sign", "Relu", "IsNaN", "IsInf", "Floor", "Ceil", "Round"])
    g.node("IsInf", x, detect_negative=0)
    g.node("IsInf", x, detect_positive=0)
    g.node("IsInf", x, detect_positive=0, detect_negative=0)
    for name in ("Min", "Max", "Add", "Mul", "Div", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"):
        g.node(name, x, y)
    g.node("Max", x, np.float32(0))
    g.node("Min", np.float32(1), x)
    g.node("Clip", x, np.float32(-1), np.float32(2))
    known = g.node("Where", g.node("IsNaN", x), np.float32(0), x)  # NaN: numpy passes it on, ONNX Runtime at times
    for name in ("ReduceMax", "ReduceMin", "ReduceSum"):
        g.node(name, known, keepdims=0)
    check(g, tmp_path, VECTOR, **target)


def test_trigonometry_of_large_angles(target, tmp_path):
    g = Graph()
    unary(g, g.input("x", ["n"], values=(-3000.0, 3000.0)), ["Sin", "Cos"])
    unary(g, g.input("y", ["n"], values=(-2e5, 2e5)), ["Sin", "Cos"])
    unary(g, g.input("z", ["n"], values=[1e9, -3e11, 1e15, 0.0, INFINITY, NAN]), ["Sin", "Cos"])
    unary(g, g.input("d", ["n"], F64, [1e3, -1e9, 3e14, 1.5707963267948966, INFINITY]), ["Sin", "Cos"])
    check(g, tmp_path, VECTOR, **target)


def test_unary_double(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"], F64)
    unary(
        g,
        x,
        [name for name in FLOAT_UNARY if name not in ("Erf", "Gelu")]
        + ["Neg", "Abs", "Sign", "Relu", "IsNaN", "IsInf"],
    )
    g.node("Softmax", x)
    g.node("Pow", g.node("Abs", x), x)
    check(g, tmp_path, **target)


def half(g, x, y):
    unary(
        g,
        x,
        [name for name in FLOAT_UNARY if name not in ("Floor", "Ceil", "Round")] + ["Neg", "Abs", "Relu", "Softmax"],
    )
    for name in ("Add", "Sub", "Mul", "Div", "Min", "Max"):
        g.node(name, x, y)
    g.node("ReduceMean", x, [1])
    g.node("ReduceMax", x, [0], keepdims=0)
    g.node("MatMul", x, g.node("Transpose", x))
    return g


def test_half(target, tmp_path):
    g = Graph()
    half(g, g.input("x", ["n", "m"], F16, (0.5, 3.0)), g.input("y", ["m"], F16))
    check(g, tmp_path, FULL, **target)


def test_brain_float(target, tmp_path):
    """Against f32, since ONNX Runtime computes little in bf16."""

    def graph(dtype):
        g = Graph()
        x, y = (g.node("Cast", g.input(name, ["n", "m"], F32, (0.5, 3.0)), to=onnx_type(dtype)) for name in "xy")
        half(g, x, y)
        for name in g.model().graph.output:
            g.node("Cast", name.name, to=1)
        return g

    check(graph(BF16), tmp_path, FULL, reference=graph(F32), allowed=5e-2, **target)


def test_erf_double(target, tmp_path):
    """Against Python's, since ONNX Runtime has none."""
    g = Graph()
    x = g.input("x", ["n"], F64)
    unary(g, x, ["Erf", "Gelu"])
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    x = np.concatenate([np.linspace(-7, 7, 501), [1e-300, INFINITY, -INFINITY]])
    outputs = session.run({"x": x})
    np.testing.assert_allclose(outputs["erf_0"], [math.erf(v) for v in x], rtol=2e-15)
    gelu = [v / 2 * (1 + math.erf(v / math.sqrt(2))) for v in x[:-2]]
    np.testing.assert_allclose(outputs["gelu_2"][:-2], gelu, atol=1e-15, rtol=1e-15)


BINARY = ["Add", "Sub", "Mul", "Div", "Min", "Max", "Equal", "Less", "Greater", "LessOrEqual", "GreaterOrEqual"]


@pytest.mark.parametrize("dtype", [F32, F64, I64, I32, I16, I8, U8], ids=lambda t: np.dtype(t).name)
def test_arithmetic(dtype, target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", "m"], dtype), g.input("y", ["n", "m"], dtype, (1, 6))
    for name in BINARY:
        g.node(name, x, y)
    g.node("Min", x, y, x)
    g.node("Max", x)
    g.node("Sum", x, y, y) if np.issubdtype(dtype, np.floating) else None
    g.node("Mean", x, y, y) if np.issubdtype(dtype, np.floating) else None
    g.node("Where", g.node("Less", x, y), x, y)
    g.node("Abs", x)
    g.node("Sign", x)
    if dtype != U8:
        g.node("Neg", x)
    check(g, tmp_path, **target)


@pytest.mark.parametrize("dtype", [I64, I32], ids=lambda t: np.dtype(t).name)
def test_integer_division(dtype, target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n"], dtype, [7, -7, 7, -7, 0, 1, 2**31 - 1, -(2**31)]), g.input(
        "y", ["n"], dtype, [2, 2, -2, -2, 5, -1, 3]
    )
    for name in ("Div", "Mul", "Sub"):
        g.node(name, x, y)
    g.node("Mod", x, y)
    g.node("Mod", x, y, fmod=1)
    g.node("Mod", x, np.array(3, dtype))
    g.node("Div", x, np.array(-3, dtype))
    check(g, tmp_path, [{"n": n} for n in (6, 1, 0)], **target)


@pytest.mark.parametrize("dtype", [F32, F64, F16], ids=lambda t: np.dtype(t).name)
def test_float_remainder(dtype, target, tmp_path):
    g = Graph()
    x = g.input(
        "x",
        ["n"],
        dtype,
        [5.5, -5.5, 5.5, -5.5, 0.0, -0.0, 1000.25, 6.0, 1e4, -6.0, 0.1, 3.0, INFINITY, NAN, 1.0, 2.0, 6e4],
    )
    y = g.input(
        "y",
        ["n"],
        dtype,
        [2.0, 2.0, -2.0, -2.0, 3.0, 3.0, 0.3, 3.0, 0.7, 3.0, 0.025, INFINITY, 2.0, 2.0, NAN, 0.0, 1e-3],
    )
    g.node("Mod", x, y, fmod=1)
    check(g, tmp_path, [{"n": n} for n in (17, 1, 0, 34)], **target)


def test_float_remainder_far_apart(target, tmp_path):
    """Quotients of up to 2^277: no division gives the remainder."""
    g = Graph()
    x, y = g.input("x", ["n"], F32, [3e38, 1e20, -3e38, 1e-40, 123456792.0]), g.input(
        "y", ["n"], F32, [1.1e-38, 0.3, 1e-44, 3e-41, 7.0]
    )
    g.node("Mod", x, y, fmod=1)
    g.node("Mod", g.node("Cast", x, to=11), g.node("Cast", y, to=11), fmod=1)
    check(g, tmp_path, [{"n": 5}], **target)


def test_unsigned(target, tmp_path):
    """Values whose highest bit is set are large, not negative."""
    g = Graph()
    x, y = g.input("x", ["n"], U8, [200, 3, 255, 128, 0]), g.input("y", ["n"], U8, [3, 200, 128, 255, 7])
    wide, other = (g.input(name, ["n"], np.uint64, [2**63, 5, 2**64 - 1, 7]) for name in ("wide", "other"))
    for name in ("Div", "Mod", "Min", "Max", "Less", "Greater", "Add", "Mul", "Sub"):
        g.node(name, x, y)
        g.node(name, wide, other)
    g.node("Sign", x)
    g.node("ReduceMax", x, keepdims=0)
    g.node("ReduceMin", x, keepdims=0)
    g.node("Where", g.node("Greater", x, np.array(127, U8)), x, np.array(255, U8))
    for dtype in (F32, I64, I8, np.uint32, BOOL):
        g.node("Cast", x, to=onnx_type(dtype))
    g.node("Cast", wide, to=onnx_type(F64))
    g.node(
        "Cast", g.node("Cast", g.input("f", ["n"], F32, [0.0, 1.9, 200.7, 255.0]), to=onnx_type(U8)), to=onnx_type(I64)
    )
    g.node("Cast", g.input("i", ["n"], I64, [-1, 300, 128]), to=onnx_type(U8))
    check(g, tmp_path, [{"n": n} for n in (5, 1, 33)], **target)


def test_power(target, tmp_path):
    g = Graph()
    x, p = g.input("x", ["n", "m"], F32, (0.1, 5.0)), g.input("p", ["m"], F32, (-3.0, 3.0))
    s = g.input("s", ["n", "m"])
    i, j = g.input("i", ["n", "m"], I64), g.input("j", ["n", "m"], I64, (0, 6))
    g.node("Pow", x, p)
    g.node("Pow", x, j)
    g.node("Pow", s, j)
    g.node("Pow", i, j)
    g.node("Pow", g.node("Cast", i, to=6), g.node("Cast", j, to=6))
    for exponent in (0.0, 1.0, 2.0, 3.0, 0.5, -1.0, -0.5, 4.0):
        g.node("Pow", x, np.float32(exponent))
    g.node("Pow", s, np.float32(2))
    g.node("Pow", s, np.array(3))
    g.node("Pow", i, np.array(2))
    g.node("Pow", np.float32(2), s)
    check(g, tmp_path, **target)


def test_power_extremes(target, tmp_path):
    g = Graph()
    bases = [
        0.0,
        -0.0,
        0.0,
        1.0,
        -1.0,
        -2.0,
        -2.0,
        -2.0,
        2.0,
        2.0,
        INFINITY,
        -INFINITY,
        -INFINITY,
        NAN,
        NAN,
        1.0,
        0.5,
        0.0,
    ]
    x = g.input("x", ["n"], F32, bases)
    y = g.input(
        "y",
        ["n"],
        F32,
        [0.0, 3.0, -2.0, NAN, INFINITY, 3.0, 2.0, 0.5, INFINITY, -INFINITY, -1.0, 3.0, 2.0, 0.0, 1.0, 1e30, 200.0, 2.5],
    )
    g.node("Pow", x, y)
    check(g, tmp_path, [{"n": 18}], **target)


def test_logic(target, tmp_path):
    g = Graph()
    a, b = g.input("a", ["n", "m"], BOOL), g.input("b", ["m"], BOOL)
    for name in ("And", "Or", "Xor", "Equal"):
        g.node(name, a, b)
    g.node("Not", a)
    g.node("Where", a, b, np.bool_(True))
    g.node("Not", g.node("And", g.node("Or", a, b), g.node("Not", b)))
    check(g, tmp_path, **target)


def test_clip(target, tmp_path):
    g = Graph()
    x, low = g.input("x", ["n", "m"]), g.input("low", [], F32, (-1.0, 0.0))
    i = g.input("i", ["n"], I64)
    g.node("Clip", x, low)
    g.node("Clip", x, "", np.float32(0.5))
    g.node("Clip", x, low, np.float32(0.5))
    g.node("Clip", x)
    g.node("Clip", x, np.float32(2), np.float32(1))
    g.node("Clip", i, np.array(-2), np.array(3))
    check(g, tmp_path, **target)


def test_swish(target, tmp_path):
    g = Graph(opset=24)
    x = g.input("x", ["n", "m"])
    g.node("Swish", x)
    g.node("Swish", x, alpha=1.7)
    check(g, tmp_path, **target)


CAST_TYPES = {"f32": F32, "f64": F64, "i64": I64, "i32": I32, "i8": I8, "u8": U8, "bool": BOOL, "f16": F16}


@pytest.mark.parametrize("source", CAST_TYPES)
def test_cast(source, target, tmp_path):
    g = Graph()
    values = {"f32": [0.0, -0.0, 1.5, -1.5, 2.9, -2.9, 100.4, 0.25, -0.5, 1e-40], "u8": [0, 1, 2, 127, 128, 255], "bool": [0, 1, 1],
              "i8": [0, 1, -1, 127, -128], "i32": [0, 1, -1, 127, 300, -129, 2**31 - 1, -(2**31)],
              "i64": [0, 1, -1, 127, 300, -129, 2**31 - 1, -(2**31), 2**31, 2**62 + 1, -(2**63)]}  # fmt: skip
    values["f64"] = values["f16"] = values["f32"]
    x = g.input("x", ["n"], CAST_TYPES[source], values[source])
    for name, dtype in CAST_TYPES.items():
        if name == "u8" and source in ("f32", "f64", "f16"):
            continue  # a negative float is not an unsigned integer: machines differ
        g.node("Cast", x, to=onnx_type(dtype))
        g.node("CastLike", x, np.zeros(1, dtype))
    check(g, tmp_path, VECTOR, **target)


def test_cast_half(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n"], F32, [0.0, 1.0, -2.5, 3.14159, 65504.0, 70000.0, 1e-7, -INFINITY])
    half = g.node("Cast", x, to=onnx_type(F16))
    brain = g.node("Cast", x, to=onnx_type(BF16))
    g.node("Cast", half, to=1)
    g.node("Cast", brain, to=1)
    g.node("Cast", brain, to=11)
    g.node("Cast", g.node("Cast", half, to=onnx_type(BF16)), to=1)
    g.node("Cast", g.node("Cast", g.input("d", ["n"], F64), to=10), to=1)
    check(g, tmp_path, VECTOR, **target)


def test_broadcasting(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 1, "m"])
    y = g.input("y", ["k", 1])
    z = g.input("z", ["n", "k", "m"])
    s = g.input("s", [])
    one = g.input("one", [1, 1, 1, 1])
    row, c = g.input("row", ["m"]), g.input("c", [1, 4], I64)
    for a, b in [
        (x, y),
        (y, x),
        (x, z),
        (z, x),
        (y, z),
        (s, z),
        (z, s),
        (one, z),
        (z, one),
        (row, z),
        (s, s),
        (one, s),
    ]:
        g.node("Sub", a, b)
    g.node("Where", g.node("Greater", x, y), z, s)
    g.node("Where", g.node("Greater", row, s), x, y)
    g.node("Max", x, y, row, s)
    g.node("Add", c, np.array([[1], [2]]))
    g.node("Add", g.node("Mul", row, np.arange(3, dtype=F32).reshape(3, 1)), s)
    check(g, tmp_path, **target)


def test_broadcasting_known_at_run_time(target, tmp_path):
    """A dimension of 1 that the model calls by another name: equal dimensions work, others are refused by the check."""
    g = Graph()
    g.node("Add", g.input("x", ["n", "m"]), g.input("y", ["k", "m"]))
    check(g, tmp_path, [(2, 3, 2), (1, 1, 1), (7, 33, 7), (0, 2, 0)], **target)
    with pytest.raises(lathe.Error, match="must have equal dimensions") as caught:
        lathe.load(tmp_path / "graph.lathe").session().run(g.feeds((4, 3, 1)))
    assert "Add_0" in str(caught.value)


def test_dropout_and_constants(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    g.node("Dropout", x)
    g.node("Dropout", x, np.float32(0.5), np.bool_(False))
    g.node("Constant", value_float=1.5)
    g.node("Constant", value_ints=[1, 2, 3])
    g.node("Add", x, g.node("Constant", value_float=2.5))
    check(g, tmp_path, **target)
