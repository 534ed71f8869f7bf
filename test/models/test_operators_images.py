# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Normalizations by channel and resampling equal ONNX Runtime, at several shapes from one artifact."""

import numpy as np
import pytest
from graphs import F16, F32, F64, U8, Graph, check


def weight(seed, *shape, dtype=F32):
    return np.random.default_rng(seed).normal(1, 0.5, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [F32, F64, F16], ids=lambda t: np.dtype(t).name)
def test_normalizations(dtype, target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 6, "m", "k"], dtype), g.input("y", ["n", 6, "m"], dtype)
    scale, bias = weight(0, 6, dtype=dtype), weight(1, 6, dtype=dtype)
    for value in (x, y):
        g.node("InstanceNormalization", value, scale, bias, epsilon=1e-3)
        g.node("BatchNormalization", value, scale, bias, weight(2, 6, dtype=dtype), np.abs(weight(3, 6, dtype=dtype)))
    if dtype != F64:  # which ONNX Runtime normalizes in f32
        g.node("GroupNormalization", x, scale, bias, num_groups=3)
        g.node("GroupNormalization", y, scale, bias, num_groups=1, epsilon=1e-2)
    check(g, tmp_path, [(2, 3, 5), (1, 2, 1), (3, 7, 2), (0, 2, 2)], **target)


def test_normalizations_of_groups(target, tmp_path):
    """Up to operator set 20, a scale and a bias are those of a group."""
    g = Graph(opset=18)
    g.node("GroupNormalization", g.input("x", ["n", 6, "m"]), weight(0, 3), weight(1, 3), num_groups=3)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 33)], **target)


def test_other_norms(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 5, "m", "k"]), g.input("y", ["n", "m"])
    g.node("LRN", x, size=3, alpha=0.1, bias=2.0)
    g.node("LRN", x, size=5, beta=0.5)
    g.node("LpNormalization", x, axis=1, p=1)
    g.node("LpNormalization", y, axis=-1)
    g.node("MeanVarianceNormalization", x)
    g.node("MeanVarianceNormalization", x, axes=[-1, 1])
    check(g, tmp_path, [(2, 3, 5), (1, 2, 3), (3, 7, 2), (0, 2, 2)], **target)


RESIZES = [(2, 3, 5), (1, 1, 1), (3, 7, 2), (1, 33, 4)]
MODES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("transformation", MODES)
def test_resize(transformation, target, tmp_path):
    g = Graph(opset=19)
    x = g.input("x", ["n", 2, "m", "k"])
    mode = {"coordinate_transformation_mode": transformation}
    shape = g.node("Shape", x)
    sizes = g.node("Concat", g.node("Gather", shape, [0, 1]), g.node("Add", g.node("Gather", shape, [3, 2]), [1, 3]), axis=0)
    for kind in ("linear", "cubic"):
        g.node("Resize", x, "", np.array([1.0, 1.0, 2.0, 3.0], F32), mode=kind, **mode)
        if transformation != "align_corners":  # where ONNX's own cases tell other corners than ONNX Runtime
            g.node("Resize", x, "", np.array([1.0, 1.0, 0.7, 1.5], F32), mode=kind, **mode)
        g.node("Resize", x, "", "", [5, 4], mode=kind, axes=[2, 3], **mode)
        g.node("Resize", x, "", "", sizes, mode=kind, **mode)
    check(g, tmp_path, RESIZES, **target)


@pytest.mark.parametrize("rounding", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
def test_resize_to_nearest(rounding, target, tmp_path):
    g = Graph(opset=19)
    x, y = g.input("x", ["n", 2, "m", "k"]), g.input("y", ["n", "m"], U8)
    for transformation in ("half_pixel", "asymmetric", "align_corners"):
        mode = {"nearest_mode": rounding, "coordinate_transformation_mode": transformation}
        for scales in ([1.0, 1.0, 2.0, 3.0], [1.0, 1.0, 0.5, 1.5]):
            g.node("Resize", x, "", np.array(scales, F32), **mode)
        g.node("Resize", x, "", "", [5, 4], axes=[2, 3], **mode)
    g.node("Resize", y, "", np.array([2.0, 2.0], F32), coordinate_transformation_mode="asymmetric", nearest_mode=rounding)
    check(g, tmp_path, [(2, 4, 6), (1, 2, 2), (3, 8, 4)], **target)


def test_resize_to_a_crop(target, tmp_path):
    g = Graph(opset=19)
    x = g.input("x", [1, 1, "m", "k"])
    roi = np.array([0, 0, 0.2, 0.3, 1, 1, 0.9, 1.2], F32)
    for kind in ("nearest", "linear"):
        mode = {"mode": kind, "coordinate_transformation_mode": "tf_crop_and_resize", "extrapolation_value": 9.0}
        g.node("Resize", x, roi, "", [1, 1, 4, 5], **mode)
    check(g, tmp_path, [(0, 5, 7), (0, 3, 4)], **target)
