# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Graphs of several operators: what shares a kernel, what is stored, and what becomes an output must not matter."""

import numpy as np
import onnx
import pytest
from graphs import BOOL, F32, F64, I64, Graph, check, onnx_type
from onnx import TensorProto, helper

FLAGS = {
    "avx2": {"target": "cpu:avx2"},
    "reference": {"target": "reference"},
    "O0": {"target": "cpu:avx2", "optimization": 0},
}
SIZES = [(2, 3, 7), (1, 1, 1), (7, 33, 3), (33, 1, 2), (3, 2, 33)]


@pytest.fixture(params=FLAGS)
def flags(request):
    return FLAGS[request.param]


def test_several_consumers(flags, tmp_path):
    g = Graph()
    x, w = g.input("x", ["n", "m"]), g.input("w", ["m", "k"])
    shared = g.node("Exp", g.node("Mul", x, np.float32(0.5)))
    g.node("Add", shared, x)
    g.node("MatMul", shared, w)
    g.node("ReduceSum", shared, [1])
    g.node("Transpose", shared)
    g.node("Reshape", shared, [-1])
    g.node("Add", g.node("ReduceMax", shared, [0]), shared)
    check(g, tmp_path, SIZES, **flags)


def test_outputs_that_are_read(flags, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m"])
    a = g.node("Tanh", x)
    b = g.node("Reshape", a, [-1])
    c = g.node("Neg", b)
    d = g.node("ReduceSum", c, [0], keepdims=0)
    g.node("Add", d, a)
    g.output(a, b, c, d)
    check(g, tmp_path, SIZES, **flags)


def test_inputs_and_constants_as_outputs(flags, tmp_path):
    """Each output is a value of its own even where they are all the same one."""
    g = Graph()
    x, b = g.input("x", ["n", "m"]), g.input("b", ["n"], BOOL)
    y = g.node("Exp", x)
    for _ in range(2):
        g.node("Identity", x)
        g.node("Identity", y)
        g.node("Identity", np.arange(6, dtype=F32).reshape(2, 3))
        g.node("Identity", np.full((4, 5), 7, I64))
        g.node("Identity", b)
    g.node("Identity", np.arange(5000))
    g.node("Identity", np.arange(50, dtype=F32))
    g.node("Identity", np.array([True, False, True]))
    g.node("Transpose", np.arange(6, dtype=F32).reshape(2, 3))
    g.node("Reshape", x, [-1])
    g.node("Shape", x)
    g.output("x", y)
    check(g, tmp_path, SIZES, **flags)


def test_long_chain(flags, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", "m"]), g.input("y", ["m"])
    value = x
    for i in range(40):
        value = g.node(["Add", "Mul", "Sub", "Max"][i % 4], value, y if i % 3 else np.float32(0.9))
        if i % 5 == 0:
            value = g.node("Tanh", value)
    check(g, tmp_path, SIZES, **flags)


def test_doubling_chain(flags, tmp_path):
    """Each value is read twice: computed anew for each reader, the work would double with each step."""
    g = Graph()
    value = g.input("x", ["n", "m"])
    for i in range(10):
        value = g.node("Mul", g.node("Add", value, g.node("Neg", value)) if i % 5 == 4 else value, np.float32(0.5))
        value = g.node("Add", value, g.node("Abs", value))
    for _ in range(3):
        value = g.node("Add", g.node("Softmax", value), g.node("ReduceMean", value, [1]))
    check(g, tmp_path, SIZES, **flags)


def test_softmax_of_a_masked_sum(flags, tmp_path):
    g = Graph()
    scores, mask = g.input("scores", ["n", 2, "m", "k"]), g.input("mask", ["n", "k"], I64, (0, 2))
    bias, causal = g.input("bias", [1, 2, "m", 1]), g.input("causal", ["m", "k"], BOOL)
    inverted = g.node("Sub", np.float32(1), g.node("Cast", g.node("Unsqueeze", mask, [1, 2]), to=1))
    added = g.node("Add", scores, g.node("Mul", inverted, np.float32(-1e4)))
    added = g.node("Add", added, bias)
    added = g.node("Where", causal, added, np.float32(-3e38))
    weights = g.node("Softmax", g.node("Div", added, np.float32(8)), axis=-1)
    g.node("Where", g.node("IsNaN", weights), np.float32(0), weights)
    check(g, tmp_path, SIZES, **flags)


def test_reductions_that_feed_reductions(flags, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", "k"])
    centered = g.node("Sub", x, g.node("ReduceMean", x, [-1]))
    variance = g.node("ReduceMean", g.node("Mul", centered, centered), [-1])
    normal = g.node("Div", centered, g.node("Sqrt", g.node("Add", variance, np.float32(1e-5))))
    g.node("ReduceSum", g.node("ReduceMax", g.node("Exp", normal), [1]), keepdims=0)
    g.node("Sub", normal, g.node("ReduceMax", normal, [0]))
    g.node("Mul", g.node("ReduceL2", g.node("ReduceSum", x, [1], keepdims=0), [1]), np.float32(2))
    total = g.node("ReduceSum", x, keepdims=0)
    g.node("Div", x, g.node("Add", g.node("Abs", total), np.float32(1)))
    g.node("Add", g.node("ReduceProd", g.node("Tanh", x), [0, 1], keepdims=0), total)
    check(g, tmp_path, SIZES, **flags)


def test_attention(flags, tmp_path):
    """Heads split off by reshape and transpose, as exporters write them."""
    g = Graph()
    x = g.input("x", ["n", "m", 8])
    random = np.random.default_rng(3)
    heads = []
    for axes in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]):
        w, b = random.normal(size=(8, 8)).astype(F32), random.normal(size=8).astype(F32)
        projected = g.node("Add", g.node("MatMul", x, w), b)
        heads.append(g.node("Transpose", g.node("Reshape", projected, [0, 0, 2, 4]), perm=axes))
    weights = g.node("Softmax", g.node("Mul", g.node("MatMul", heads[0], heads[1]), np.float32(0.5)))
    joined = g.node("Transpose", g.node("MatMul", weights, heads[2]), perm=[0, 2, 1, 3])
    g.node("Add", x, g.node("Reshape", joined, [0, 0, 8]))
    check(g, tmp_path, SIZES, **flags)


def test_rotary(flags, tmp_path):
    g = Graph()
    x, positions = g.input("x", ["n", 2, "m", 6]), g.input("positions", ["n", "m"], I64, (0, 1000))
    frequencies = (0.1 ** np.arange(3)).astype(F32)
    angles = g.node("Mul", g.node("Unsqueeze", g.node("Cast", positions, to=1), [-1]), frequencies)
    both = g.node("Unsqueeze", g.node("Concat", angles, angles, axis=-1), [1])
    low, high = g.node("Split", x, axis=-1, count=2, num_outputs=2)
    turned = g.node("Concat", g.node("Neg", high), low, axis=-1)
    g.node("Add", g.node("Mul", x, g.node("Cos", both)), g.node("Mul", turned, g.node("Sin", both)))
    odd = g.node("Slice", x, [1], [100], [-1], [2])
    even = g.node("Slice", x, [0], [100], [-1], [2])
    pairs = g.node("Concat", g.node("Unsqueeze", g.node("Neg", odd), [-1]), g.node("Unsqueeze", even, [-1]), axis=-1)
    g.node("Reshape", pairs, [0, 2, -1, 6])
    check(g, tmp_path, SIZES, **flags)


def test_slices_of_concats_of_slices(flags, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", "m", 4]), g.input("y", ["n", "k", 4])
    joined = g.node(
        "Concat",
        g.node("Slice", x, [1], [100], [1]),
        g.node("Exp", y),
        g.node("Slice", x, [-1], [-100], [1], [-1]),
        axis=1,
    )
    last = g.node("Slice", joined, [-2], [100], [1])
    g.node("Concat", last, g.node("Mul", g.node("Slice", joined, [0], [1], [1]), np.float32(2)), axis=1)
    g.node("Softmax", joined)
    g.node("ReduceSum", joined, [1], keepdims=0)
    g.node("Gather", joined, g.node("Sub", g.node("Gather", g.node("Shape", joined), np.array(1)), np.array(1)), axis=1)
    check(g, tmp_path, SIZES, **flags)


def test_gather_of_a_computed_table(flags, tmp_path):
    g = Graph()
    table, ids = g.input("table", [10, "k"]), g.input("ids", ["n", "m"], I64, (-10, 10))
    scaled = g.node("Mul", g.node("Tanh", table), g.node("ReduceSum", table, [1]))
    rows = g.node("Gather", scaled, ids)
    g.node("LayerNormalization", g.node("Add", rows, g.node("Gather", table, ids)), np.float32([1]), axis=-1)
    g.node("Gather", g.node("CumSum", table, np.array(0)), g.node("Clip", ids, np.array(0), np.array(3)))
    g.node(
        "GatherElements", g.node("Gather", scaled, ids), g.node("Mul", g.node("Cast", rows, to=7), np.array(0)), axis=1
    )
    check(g, tmp_path, SIZES, **flags)


def test_position_ids(flags, tmp_path):
    g = Graph()
    mask = g.input("mask", ["n", "m"], I64, (0, 2))
    running = g.node("CumSum", mask, np.array(1))
    ids = g.node("Sub", g.node("Mul", running, mask), np.array(1))
    ids = g.node("Where", g.node("Less", ids, np.array(0)), np.array([1]), ids)
    length = g.node("Gather", g.node("Shape", mask), np.array(1))
    row = g.node("Range", np.array(0), length, np.array(1))
    causal = g.node("LessOrEqual", g.node("Unsqueeze", row, [0]), g.node("Unsqueeze", row, [1]))
    g.node("And", causal, g.node("Cast", g.node("Unsqueeze", mask, [1]), to=9))
    g.node(
        "Trilu",
        g.node("Expand", np.float32(-1e9), g.node("Concat", *[g.node("Unsqueeze", length, [0])] * 2, axis=0)),
        np.array(1),
    )
    g.node("Gather", np.linspace(0, 1, 40, dtype=F32).reshape(40, 1), ids)
    check(g, tmp_path, SIZES, **flags)


def test_scalars(flags, tmp_path):
    """Rank 0 all the way."""
    g = Graph()
    a, b = g.input("a", []), g.input("b", [], F64)
    total = g.node("Add", g.node("Exp", a), g.node("Cast", b, to=1))
    g.node("ReduceMax", total)
    g.node("Reshape", total, [1, 1])
    g.node("Concat", g.node("Unsqueeze", total, [0]), g.node("Unsqueeze", a, [0]), axis=0)
    g.node("Where", g.node("Less", a, total), a, total)
    g.node("Identity", np.float32(3))
    g.node("Shape", a)
    g.node("Size", a)
    check(g, tmp_path, [()], **flags)


def test_default_target(tmp_path):
    """The instruction set that this machine has, of all that are compiled for."""
    g = Graph()
    x, w = g.input("x", ["n", "m", "k"]), g.input("w", ["k", 5])
    y = g.node("MatMul", x, w)
    for name in ("Erf", "Tanh", "Exp", "Sigmoid", "Softmax", "Gelu"):
        g.node(name, y)
    g.node("Mod", y, np.float32(0.3), fmod=1)
    for name in ("Exp", "Log", "Tanh", "Sin"):
        g.node(name, g.node("Cast", g.node("Abs", y), to=11))
    check(g, tmp_path, SIZES)


UNSUPPORTED = {
    "Cast": (["x"], {"to": TensorProto.STRING}),
    "Conv": (["x", "x"], {}),
    "TopK": (["x", "i"], {}),
    "Reshape": (["x", "i"], {}),
    "Range": (["i", "i", "i"], {}),
    "Tile": (["x", "i"], {}),
    "Gather": (["x", "x"], {}),
    "Slice": (["x", "i", "i", "i"], {}),
    "Mod": (["x", "x"], {"fmod": 0}),
    "Exp": (["i"], {}),
    "And": (["x", "x"], {}),
    "Softmax": (["i"], {}),
    "Concat": (["x", "i"], {"axis": 0}),
    "Where": (["x", "x", "x"], {}),
    "Add": (["x", "i"], {}),
    "MatMul": (["x", "i"], {}),
    "CumSum": (["x", "i"], {}),
    "Trilu": (["i"], {}),
    "ReduceSum": (["x", "i"], {}),
    "GatherND": (["x", "i"], {"batch_dims": 3}),
    "LayerNormalization": (["x", "i"], {}),
    "Expand": (["x", "i"], {}),
    "Clip": (["x", "i"], {}),
    "Not": (["x"], {}),
    "IsNaN": (["i"], {}),
    "Transpose": (["x"], {"perm": [0, 0]}),
}


@pytest.mark.parametrize("name", UNSUPPORTED)
def test_refused(name, lathe_tool, tmp_path):
    """What can't be compiled is refused by name, by check and compile alike."""
    inputs, attributes = UNSUPPORTED[name]
    types = {"x": (F32, ["n", "m"]), "i": (I64, ["k"])}
    graph = helper.make_graph(
        [helper.make_node(name, inputs, ["y"], "the_node", **attributes)],
        "graph",
        [helper.make_tensor_value_info(n, onnx_type(types[n][0]), types[n][1]) for n in sorted(set(inputs))],
        [helper.make_empty_tensor_value_info("y")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    onnx.save(model, tmp_path / "graph.onnx")
    for command in (["check", tmp_path / "graph.onnx"], ["compile", tmp_path / "graph.onnx", "-o", tmp_path / "out"]):
        result = lathe_tool(*command)
        text = result.stdout + result.stderr
        assert result.returncode == 3, f"{result.returncode}: {text}"
        assert "the_node" in text and name in text
