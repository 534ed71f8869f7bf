# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Deformable windows, regions, unpooling, unique values and determinants equal ONNX Runtime."""

import numpy as np
import onnx
import pytest
from graphs import BOOL, F32, F64, I32, I64, U8, Graph, check

import lathe

SIZES = [(2, 3, 5), (1, 1, 1), (3, 7, 2), (1, 9, 4)]


def sized(opset=22):
    """A graph with an input whose dimensions are n, m and k alone, as those of the others may be sums."""
    g = Graph(opset)
    g.input("dims", ["n", "m", "k"], BOOL)
    return g


def test_deformable_convolutions(target, tmp_path):
    g = sized()
    x, w, b = g.input("x", ["n", 4, "m+3", "k+4"]), g.input("w", [6, 2, 3, 2]), g.input("b", [6])
    offset, mask = g.input("o", ["n", 24, "m+3", "k+3"], F32, (-2.5, 2.5)), g.input("mask", ["n", 12, "m+3", "k+3"])
    g.node("DeformConv", x, w, offset, b, mask, group=2, offset_group=2, pads=[1, 0, 1, 0])
    g.node("DeformConv", x, w, g.input("p", ["n", 12, "m+1", "k+3"]), group=2)
    one = g.input("v", [3, 4, 2, 2])
    g.node("DeformConv", x, one, g.input("q", ["n", 8, "(m+1)//2+1", "k+4"]), strides=[2, 1], dilations=[2, 1], pads=[1, 0, 1, 1])
    check(g, tmp_path, SIZES, **target)


def test_deformable_convolutions_of_doubles(target, tmp_path):
    g = sized()
    x, w = g.input("x", ["n", 2, "m+3", "k+4"], F64), g.input("w", [3, 2, 2, 2], F64)
    g.node("DeformConv", x, w, g.input("o", ["n", 8, "m+2", "k+3"], F64))
    check(g, tmp_path, SIZES, **target)


def test_unpooling(target, tmp_path):
    g = sized()
    pooled, places = g.node("MaxPool", g.input("x", ["n", 3, "2*m", "2*k"]), kernel_shape=[2, 2], strides=[2, 2], count=2)
    g.node("MaxUnpool", pooled, places, kernel_shape=[2, 2], strides=[2, 2])
    g.output(places)
    check(g, tmp_path, SIZES, **target)


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_largest_of_regions(scale, target, tmp_path):
    g = sized(21)
    x = g.input("x", ["n", 3, "m+2", "k+3"])

    def regions(random, shape):
        begin = random.integers(0, 3, (*shape[:-1], 2))
        return np.concatenate([np.zeros((*shape[:-1], 1)), begin, begin + random.integers(0, 5, begin.shape)], -1)

    g.node("MaxRoiPool", x, g.input("r", ["m", 5], F32, regions), pooled_shape=[2, 3], spatial_scale=scale)
    check(g, tmp_path, SIZES, **target)


@pytest.mark.parametrize("mode", ["avg", "max"])
@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
def test_regions_with_as_many_samples_as_elements(mode, transformation, target, tmp_path):
    g = sized()
    x = g.input("x", ["n", 3, "m+4", "k+5"])

    def regions(random, shape):
        begin = random.uniform(0, 3, (*shape[:-1], 2))
        return np.concatenate([begin, begin + random.uniform(0.5, 9, begin.shape)], -1)

    r, batch = g.input("r", ["m", 4], F32, regions), g.input("b", ["m"], I64, (0, 1))
    options = {"mode": mode, "coordinate_transformation_mode": transformation}
    g.node("RoiAlign", x, r, batch, output_height=2, output_width=3, spatial_scale=0.7, **options)
    g.node("RoiAlign", x, r, batch, output_height=1, output_width=1, sampling_ratio=2, **options)
    check(g, tmp_path, SIZES + [(1, 0, 2)], **target)


@pytest.mark.parametrize("dtype, sorted", [(F32, 0), (F32, 1), (F64, 0), (I64, 0), (I64, 1), (I32, 1), (U8, 1)])
def test_unique(sorted, dtype, target, tmp_path):
    g = Graph()
    few = lambda random, shape: random.integers(0, 4, shape)  # noqa: E731
    g.node("Unique", g.input("x", ["n", "m"], dtype, few), sorted=sorted, count=4)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7), (5, 33), (0, 2)], **target)


@pytest.mark.parametrize("sorted", [0, 1])
def test_unique_slices(sorted, target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", "k"], F32, lambda random, shape: random.integers(0, 2, shape))
    for axis in (0, 1, -1):
        g.node("Unique", x, sorted=sorted, axis=axis, count=4)
    check(g, tmp_path, [(2, 3, 1), (1, 1, 1), (9, 2, 1), (1, 7, 2), (2, 33, 2)], **target)


def test_unique_values_used_further(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n"], I64, (0, 5))
    values, _, inverse, _ = g.node("Unique", x, count=4)
    g.node("Sub", g.node("Gather", values, inverse), x)
    g.node("Mul", values, np.array(2))
    check(g, tmp_path, [(2,), (1,), (33,)], **target)


def test_determinants(target, tmp_path):
    g = Graph()
    g.node("Det", g.input("x", ["n", "m", 4, 4]))
    g.node("Det", g.input("y", [3, 3]))
    g.node("Det", g.input("z", ["n", 1, 1]))
    g.node("Det", g.input("s", ["n", 2, 2], F32, lambda random, shape: np.ones(shape)))  # singular
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7), (0, 2)], **target)


def test_determinants_of_any_size(target, tmp_path):
    g = Graph()
    g.node("Det", g.input("x", ["n", "m", "m"]))
    g.node("Det", g.input("y", ["m", "m"]))
    g.node("Det", g.input("s", ["n", "m+2", "m+2"], F32, lambda random, shape: np.ones(shape)))  # singular
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7), (0, 2), (2, 33)], **target)
    session = lathe.load(tmp_path / "graph.lathe").session()
    outputs = session.run(g.feeds((3, 0)))  # ONNX Runtime refuses it; the product of nothing is 1
    np.testing.assert_array_equal(list(outputs.values())[0], np.ones(3, F32))


@pytest.mark.parametrize("op, attributes, inputs, reason", [
    ("Det", {}, [["n", 2, 3]], "square matrices"),
    ("DeformConv", {}, [["n", 4, 5], [2, 4, 3], ["n", 3, 3]], "two spatial axes"),
    ("DeformConv", {"offset_group": 3}, [["n", 4, 5, 5], [2, 4, 3, 3], ["n", 18, 3, 3]], "offset_group that divide"),
    ("MaxRoiPool", {"pooled_shape": [0, 1]}, [["n", 4, 5, 5], [2, 5]], "pooled_shape from 1"),
    ("Unique", {"axis": 2}, [["n", 4]], "axis within rank 2"),
])  # fmt: skip
def test_refused(op, attributes, inputs, reason, tmp_path):
    g = Graph()
    g.node(op, *(g.input(f"x{i}", shape) for i, shape in enumerate(inputs)), **attributes)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")


def boxes(center):
    def values(random, shape):
        first, second = random.uniform(0, 4, (*shape[:-1], 2)), random.uniform(0.5, 3, (*shape[:-1], 2))
        return np.concatenate([first, second if center else first + second * random.choice([-1, 1], second.shape)], -1)

    return values


@pytest.mark.parametrize("center", [0, 1])
def test_choice_of_boxes(center, target, tmp_path):
    g = Graph()
    b, s = g.input("b", ["n", "m", 4], F32, boxes(center)), g.input("s", ["n", "k", "m"], F32, (0.0, 1.0))
    bound, least = np.float32(0.3), np.float32(0.4)
    g.node("NonMaxSuppression", b, s, np.array([3]), np.array([0.3], F32), center_point_box=center)
    g.node("NonMaxSuppression", b, s, np.array(5), bound, least, center_point_box=center)
    g.node("NonMaxSuppression", b, s, np.array(2))
    chosen = g.node("NonMaxSuppression", b, s, np.array([4]), bound)
    g.node("GatherND", s, g.node("Slice", chosen, np.array([0]), np.array([2]), np.array([1])))
    g.node("NonMaxSuppression", b, s)
    check(g, tmp_path, [(2, 9, 3), (1, 1, 1), (1, 33, 2), (2, 0, 2)], **target)


def test_choice_of_as_many_boxes_as_the_run_says(target, tmp_path):
    g = Graph()
    b, s = g.input("b", [1, 12, 4], F32, boxes(0)), g.input("s", [1, 2, 12], F32, (0.0, 1.0))
    count = g.node("Shape", g.input("x", ["n"]))
    g.node("NonMaxSuppression", b, s, count, np.array([0.2], F32))
    g.node("NonMaxSuppression", b, s, np.array([2**40]), np.array([0.2], F32), np.array([0.3], F32))
    check(g, tmp_path, [(2,), (0,), (33,)], **target)
