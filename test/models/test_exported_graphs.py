# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Patterns that exporters write for parts of models, each as a small graph, equal ONNX Runtime."""

import numpy as np
from graphs import F32, Graph, check
from onnx import TensorProto, helper


def shape_vector(g, *dims):
    """A shape of the last axes' names or numbers: a number, or (tensor, axis)."""
    parts = [[d] if isinstance(d, int) else g.node("Gather", g.node("Shape", d[0]), [d[1]]) for d in dims]
    return g.node("Concat", *[np.array(p) if isinstance(p, list) else p for p in parts], axis=0)


def test_tokens_of_an_expert(target, tmp_path):
    """What a mask routes to one expert is gathered, multiplied, and added where it came from."""
    g = Graph(17)
    x = g.input("x", ["n", "m", 8])
    flat = g.node("Reshape", x, np.array([-1, 8]))
    rows = g.node("ReduceSum", flat, np.array([1]), keepdims=0)
    chosen = g.node("NonZero", g.node("Greater", rows, np.float32(0)))
    tokens = g.node("Squeeze", g.node("Transpose", chosen, perm=[1, 0]), np.array([1]))
    taken = g.node("MatMul", g.node("Gather", flat, tokens), np.eye(8, dtype=F32)[::-1] * 2)
    zeros = g.node("ConstantOfShape", g.node("Shape", flat))
    # The first row alone stands for the shape of the others: one row, or none.
    first = g.node("Slice", zeros, np.array([0]), np.array([1]), np.array([0]))
    source = g.node("Expand", taken, g.node("Shape", first))
    index = g.node("Expand", g.node("Unsqueeze", tokens, np.array([1])), g.node("Shape", source))
    added = g.node("ScatterElements", zeros, index, source, axis=0, reduction="add")
    g.node("Reshape", added, g.node("Shape", x))
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (5, 1), (0, 3)], **target)


def test_every_index_of_an_axis(target, tmp_path):
    """An assignment to a slice: the positions of what is true throughout are a range."""
    g = Graph(17)
    x = g.input("x", ["n", "m", 5])
    count = g.node("Gather", g.node("Shape", x), np.array([0]))
    ones = g.node("ConstantOfShape", count, value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    rows = g.node("Transpose", g.node("NonZero", ones), perm=[1, 0])
    columns = g.node("Expand", np.array([[2]]), g.node("Shape", rows))
    places = g.node("Concat", rows, g.node("Sub", columns, np.array([[2]])), axis=1)
    source = g.input("u", ["n", 5])
    g.node("ScatterND", x, places, source)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (33, 1)], **target)


def test_lengths_after_many_convolutions(target, tmp_path):
    """Heads of a sequence whose length is a long expression, and shapes that infer a dimension from it."""
    g = Graph(20)
    random = np.random.default_rng(0)
    x = g.node("Unsqueeze", g.input("x", ["n", "m"]), np.array([1]))
    channels = 1
    for kernel, stride in ((5, 3), (3, 2), (3, 2), (2, 2), (2, 1)):
        weight = random.normal(0, 0.4, (8, channels, kernel)).astype(F32)
        x, channels = g.node("Conv", x, weight, strides=[stride]), 8
    x = g.node("Transpose", x, perm=[0, 2, 1])
    split = g.node("Reshape", x, shape_vector(g, (x, 0), (x, 1), 2, 4))
    heads = g.node("Transpose", split, perm=[0, 2, 1, 3])
    merged = g.node("Reshape", heads, shape_vector(g, -1, (heads, 2), 4))
    scores = g.node("Softmax", g.node("MatMul", merged, g.node("Transpose", merged, perm=[0, 2, 1])), axis=-1)
    weighted = g.node("MatMul", scores, merged)
    apart = g.node("Reshape", weighted, shape_vector(g, (x, 0), 2, -1, 4))
    g.node("Reshape", g.node("Transpose", apart, perm=[0, 2, 1, 3]), shape_vector(g, (x, 0), -1, 8))
    check(g, tmp_path, [(2, 90), (1, 59), (3, 128), (1, 200)], **target)


def test_sequences_padded_to_windows(target, tmp_path):
    """Tokens padded to a multiple of the window's length, in chunks that overlap by half."""
    g = Graph(17)
    x = g.input("x", ["n", "m", 6])
    length = g.node("Gather", g.node("Shape", x), np.array(1))
    missing = g.node("Mod", g.node("Sub", np.array(8), g.node("Mod", length, np.array(8))), np.array(8))
    pads = g.node("Concat", np.array([0, 0, 0, 0]), g.node("Unsqueeze", missing, np.array([0])), np.array([0]), axis=0)
    padded = g.node("Pad", x, pads)
    windows = g.node("Reshape", padded, shape_vector(g, (padded, 0), -1, 8, 6))
    # Expanded to its own shape: -1 would leave an extent as it is.
    shape = g.node("Shape", windows)
    ones = g.node("ConstantOfShape", g.node("Shape", shape), value=helper.make_tensor("v", TensorProto.INT64, [1], [1]))
    asked = g.node("Where", g.node("Equal", shape, g.node("Mul", ones, np.array(-1))), ones, shape)
    same = g.node("Expand", windows, asked)
    means = g.node("ReduceMean", same, axes=[2], keepdims=1)
    joined = g.node("Reshape", g.node("Sub", same, means), g.node("Shape", padded))
    g.node("Slice", joined, np.array([0]), g.node("Unsqueeze", length, np.array([0])), np.array([1]))
    check(g, tmp_path, [(2, 3), (1, 8), (3, 33), (1, 1), (0, 5)], **target)


def test_last_element_of_an_axis(target, tmp_path):
    """Running sums divided by the last of them, whose extent is 0 where there is none; and other slices of one element."""
    g = Graph(17)
    x = g.input("x", ["n", "m", 3], F32, (0.5, 2.0))
    sums = g.node("CumSum", x, np.array(1))
    last = g.node("Slice", sums, np.array([-1]), np.array([2**63 - 1]), np.array([1]))
    share = g.node("Div", sums, last)
    first = g.node("Slice", x, np.array([0]), np.array([1]), np.array([0]))
    second = g.node("Slice", x, np.array([1]), np.array([2]), np.array([2]))
    g.node("Sub", g.node("Mul", share, second), first)
    g.node("Expand", last, g.node("Shape", x))
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33), (3, 1), (0, 3), (2, 0)], **target)


def test_edges_computed_in_floats(target, tmp_path):
    """Patches as an image again: its edges are the root of their number."""
    g = Graph(17)
    x = g.node("Slice", g.input("x", ["n", 17, 4]), np.array([1]), np.array([2**63 - 1]), np.array([1]))
    count = g.node("Gather", g.node("Shape", x), np.array(1))
    root = g.node("Pow", g.node("Cast", count, to=TensorProto.FLOAT), np.float32(0.5))
    edge = g.node("Unsqueeze", g.node("Cast", root, to=TensorProto.INT64), np.array([0]))
    shape = g.node("Concat", np.array([-1]), edge, edge, np.array([4]), axis=0)
    image = g.node("Transpose", g.node("Reshape", x, shape), perm=[0, 3, 1, 2])
    weight = np.random.default_rng(1).normal(0, 0.4, (6, 4, 3, 3)).astype(F32)
    for _ in range(3):
        image = g.node("Conv", g.node("Relu", image), weight[:4], pads=[1, 1, 1, 1])
    g.node("Reshape", image, g.node("Concat", np.array([0, 4, -1]), axis=0))
    check(g, tmp_path, [(2,), (1,), (5,)], **target)
