# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Composite operations are recognised in every spelling, and what they become equals ONNX Runtime."""
import json
from collections import Counter

import numpy as np
import onnx
import pytest
from graphs import F16, F32, Graph, check

SIZES = [(2, 3), (1, 1), (5, 17), (3, 0)]
ROOT_HALF = float(np.sqrt(0.5))
ROOT_2_PI = float(np.sqrt(2 / np.pi))


def f32(value):
    return np.array(value, F32)


class Spelling(Graph):
    """A graph that is written as a formula: operators with numbers and names."""

    def __getattr__(self, name):
        if not name[0].isupper():
            raise AttributeError(name)
        return lambda *inputs, **attributes: self.node(
            name, *[f32(x) if isinstance(x, float) else x for x in inputs], **attributes
        )

    def mean(self, x, op="ReduceMean", axes=(-1,), keepdims=1):
        return self.node(op, x, np.array(axes, np.int64), keepdims=keepdims)


GELU = {
    "erf": lambda g, x: g.Mul(g.Mul(x, g.Add(g.Erf(g.Div(x, 2**0.5)), 1.0)), 0.5),
    "erf, half of x first": lambda g, x: g.Mul(g.Mul(0.5, x), g.Add(1.0, g.Erf(g.Mul(x, ROOT_HALF)))),
    "erf, half of the sum": lambda g, x: g.Mul(x, g.Mul(g.Add(g.Erf(g.Mul(ROOT_HALF, x)), 1.0), 0.5)),
    "erf, half of both": lambda g, x: g.Mul(x, g.Add(g.Mul(g.Erf(g.Mul(ROOT_HALF, x)), 0.5), 0.5)),
    "erf, halves by division": lambda g, x: g.Div(g.Mul(g.Add(g.Erf(g.Div(x, 2**0.5)), 1.0), x), 2.0),
    "erf of -x": lambda g, x: g.Mul(g.Mul(x, 0.5), g.Sub(1.0, g.Erf(g.Div(g.Neg(x), 2**0.5)))),
    "erf, shaped constants": lambda g, x: g.Mul(
        g.Mul(x, g.Add(g.Erf(g.Div(x, f32([2**0.5]))), f32([[1.0]]))), f32([0.5] * 6)
    ),
}
CUBES = {
    "pow": lambda g, x: g.Pow(x, 3.0),
    "x x x": lambda g, x: g.Mul(x, g.Mul(x, x)),
    "pow 2": lambda g, x: g.Mul(g.Pow(x, 2.0), x),
}
for cube_name, cube in CUBES.items():
    GELU["tanh, " + cube_name] = lambda g, x, cube=cube: g.Mul(
        g.Mul(0.5, x), g.Add(1.0, g.Tanh(g.Mul(ROOT_2_PI, g.Add(x, g.Mul(0.044715, cube(g, x))))))
    )
GELU["tanh, factored"] = lambda g, x: g.Mul(
    g.Mul(x, 0.5), g.Add(1.0, g.Tanh(g.Mul(g.Mul(ROOT_2_PI, x), g.Add(1.0, g.Mul(g.Mul(0.044715, x), x)))))
)
GELU["tanh, multiplied out"] = lambda g, x: g.Mul(
    x, g.Add(0.5, g.Mul(0.5, g.Tanh(g.Add(g.Mul(x, ROOT_2_PI), g.Mul(g.Pow(x, 3.0), ROOT_2_PI * 0.044715)))))
)

SILU = {
    "sigmoid": lambda g, x: g.Mul(x, g.Sigmoid(x)),
    "quotient": lambda g, x: g.Div(x, g.Add(1.0, g.Exp(g.Neg(x)))),
    "inverse": lambda g, x: g.Mul(g.Reciprocal(g.Add(g.Exp(g.Neg(x)), 1.0)), x),
    "one over": lambda g, x: g.Mul(g.Div(1.0, g.Add(g.Exp(g.Mul(x, -1.0)), 1.0)), x),
    "tanh": lambda g, x: g.Mul(g.Mul(x, 0.5), g.Add(1.0, g.Tanh(g.Mul(x, 0.5)))),
    "of a bias": lambda g, x: (lambda y: g.Mul(y, g.Sigmoid(y)))(g.Add(x, f32([1, 2, 3, 4, 5, 6]))),
    "other factor": lambda g, x: g.Mul(x, g.Sigmoid(g.Mul(x, 0.75))),
}
QUICK = {
    "after": lambda g, x: g.Mul(x, g.Sigmoid(g.Mul(x, 1.702))),
    "before": lambda g, x: g.Mul(g.Sigmoid(g.Mul(1.702, x)), x),
    "spelled out": lambda g, x: g.Div(x, g.Add(g.Exp(g.Mul(x, -1.702)), 1.0)),
}

SCALE, BIAS = f32([1, 2, -3, 4, 0.5, 6]), f32([0.1, -0.2, 0.3, 0, 5, 6])


def centered(g, x):
    return g.Sub(x, g.mean(x))


def deviation(g, c, square=lambda g, c: g.Mul(c, c), epsilon=1e-5):
    return g.Sqrt(g.Add(g.mean(square(g, c)), epsilon))


def layer(normalize, scale=True, bias=True):
    def build(g, x):
        y = normalize(g, x)
        y = g.Mul(y, SCALE) if scale else y
        return g.Add(BIAS, y) if bias else y

    return build


def plain(g, x):
    c = centered(g, x)
    return g.Div(c, deviation(g, c))


def inverted(g, x):
    c = centered(g, x)
    return g.Mul(g.Reciprocal(deviation(g, c, lambda g, c: g.Pow(c, 2.0))), c)


def one_over(g, x):
    c = centered(g, x)
    return g.Mul(c, g.Div(1.0, deviation(g, c)))


def power(g, x):
    c = centered(g, x)
    return g.Mul(c, g.Pow(g.Add(g.mean(g.Mul(c, c)), 1e-5), -0.5))


def sums(g, x):
    c = g.Sub(x, g.Div(g.mean(x, "ReduceSum"), 6.0))
    return g.Div(c, g.Sqrt(g.Add(g.Mul(g.mean(c, "ReduceSumSquare"), 1 / 6), 1e-5)))


def dropped_axis(g, x):
    c = g.Sub(x, g.node("Unsqueeze", g.mean(x, keepdims=0), np.array([-1])))
    return g.Div(c, g.Sqrt(g.Add(g.mean(g.Mul(c, c)), 1e-5)))


def two_means(g, x):
    variance = g.Sub(g.mean(g.Mul(x, x)), g.Pow(g.mean(x), 2.0))
    return g.Div(centered(g, x), g.Sqrt(g.Add(g.Relu(variance), 1e-5)))


def scale_first(g, x):
    c = centered(g, x)
    return g.Mul(g.Div(SCALE, deviation(g, c)), c)


def scaled_difference(g, x):
    c = centered(g, x)
    return g.Div(g.Mul(c, SCALE), deviation(g, c))


def affine(g, x):
    m = g.mean(x)
    c = g.Sub(x, m)
    k = g.Mul(g.Reciprocal(deviation(g, c)), SCALE)
    return g.Add(g.Mul(x, k), g.Sub(BIAS, g.Mul(m, k)))


LAYER_NORM = {
    "plain": layer(plain),
    "no bias": layer(plain, bias=False),
    "nothing": layer(plain, scale=False, bias=False),
    "inverted": layer(inverted),
    "one over": layer(one_over),
    "power": layer(power),
    "sums": layer(sums),
    "dropped axis": layer(dropped_axis),
    "two means": layer(two_means),
    "scale first": layer(scale_first, scale=False),
    "scaled difference": layer(scaled_difference, scale=False),
    "affine": affine,
}


def root(g, x):
    return g.Sqrt(g.Add(g.mean(g.Pow(x, 2.0)), 1e-6))


RMS_NORM = {
    "inverse": lambda g, x: g.Mul(SCALE, g.Mul(x, g.Reciprocal(root(g, x)))),
    "one over": lambda g, x: g.Mul(g.Mul(x, g.Div(1.0, root(g, x))), SCALE),
    "quotient": lambda g, x: g.Div(x, root(g, x)),
    "product first": lambda g, x: g.Mul(g.Mul(x, SCALE), g.Reciprocal(root(g, x))),
    "one plus": lambda g, x: g.Mul(g.Div(x, root(g, x)), g.Add(1.0, SCALE)),
    "square": lambda g, x: g.Mul(x, g.Pow(g.Add(g.mean(g.Mul(x, x)), 1e-6), -0.5)),
    "sum": lambda g, x: g.Div(x, g.Sqrt(g.Add(g.Div(g.mean(x, "ReduceSumSquare"), 6.0), 1e-6))),
}

FAMILIES = {
    "gelu": GELU, "silu": SILU, "quick_gelu": QUICK, "layer_norm": LAYER_NORM, "rms_norm": RMS_NORM,
}


def explain(lathe_tool, graph, folder):
    onnx.save(graph.model(), folder / "graph.onnx")
    return json.loads(lathe_tool.ok("explain", folder / "graph.onnx", "--fusions", "--json"))


def counts(found):
    return Counter(fusion["kind"] for fusion in found["fusions"] if not fusion["stated"])


@pytest.mark.parametrize("family", FAMILIES)
def test_spellings(family, lathe_tool, target, tmp_path):
    # An input for each, or equal parts of two would be one value that both use.
    g = Spelling()
    for i, build in enumerate(FAMILIES[family].values()):
        build(g, g.input(f"x{i}", ["n", "m", 6]))
    found = explain(lathe_tool, g, tmp_path)
    assert counts(found) == {family: len(FAMILIES[family])}, found["near_misses"]
    assert found["near_misses"] == []
    check(g, tmp_path, SIZES, **target)


@pytest.mark.parametrize("family", ["layer_norm", "rms_norm"])
def test_norms_in_a_wider_type(family, lathe_tool, target, tmp_path):
    g = Spelling()
    for i, name in enumerate(list(FAMILIES[family])[:2]):
        wide = g.node("Cast", g.input(f"x{i}", ["n", "m", 6], F16), to=onnx.TensorProto.FLOAT)
        g.node("Cast", FAMILIES[family][name](g, wide), to=onnx.TensorProto.FLOAT16)
    x = g.input("y", ["n", "m", 6], F16)
    wide = g.node("Cast", x, to=onnx.TensorProto.FLOAT)
    normal = plain(g, wide) if family == "layer_norm" else g.Div(wide, root(g, wide))
    g.Mul(SCALE.astype(F16), g.node("Cast", normal, to=onnx.TensorProto.FLOAT16))
    assert counts(explain(lathe_tool, g, tmp_path)) == {family: 3}
    check(g, tmp_path, SIZES, **target)


def test_norm_of_several_axes(lathe_tool, target, tmp_path):
    g = Spelling()
    x = g.input("x", ["n", "m", 2, 5])
    c = g.Sub(x, g.mean(x, axes=(2, 3)))
    g.Div(c, g.Sqrt(g.Add(g.mean(g.Mul(c, c), axes=(-2, -1)), 1e-5)))
    assert counts(explain(lathe_tool, g, tmp_path)) == {"layer_norm": 1}
    check(g, tmp_path, SIZES, **target)


def test_neighbours_stay_what_they_are(lathe_tool, target, tmp_path):
    """A length, a deviation with n - 1, a gate, a norm along another axis."""
    g = Spelling()
    x = g.input("x", ["n", "m", 6])
    g.Div(x, g.Sqrt(g.mean(x, "ReduceSumSquare")))
    c = centered(g, x)
    g.Div(c, g.Sqrt(g.Add(g.Div(g.mean(c, "ReduceSumSquare"), 5.0), 1e-5)))
    g.Mul(g.input("y", ["n", "m", 6]), g.Sigmoid(x))
    z = g.input("z", ["n", 4, "m"])
    d = g.Sub(z, g.mean(z, axes=(1,)))
    g.Div(d, g.Sqrt(g.Add(g.mean(g.Mul(d, d), axes=(1,)), 1e-5)))
    assert not counts(explain(lathe_tool, g, tmp_path))
    check(g, tmp_path, [(2, 3), (1, 1), (5, 17)], **target)
