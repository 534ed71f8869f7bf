# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Transforms of signals and images read at computed places equal ONNX Runtime, at several shapes from one artifact."""

import numpy as np
import pytest
from graphs import F16, F32, F64, I8, I64, U8, Graph, check
from onnx import TensorProto


def weight(seed, *shape, dtype=F32):
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(dtype)


@pytest.mark.parametrize("dtype", [F32, F64], ids=lambda t: np.dtype(t).name)
def test_dft(dtype, target, tmp_path):
    g = Graph(opset=17)
    x, z = g.input("x", ["n", 12, 3, 1], dtype), g.input("z", ["n", 5, "m", 2], dtype)
    g.node("DFT", x, axis=1)
    g.node("DFT", x, axis=2, onesided=1)
    g.node("DFT", x, np.array(16), axis=1, onesided=1)
    g.node("DFT", x, np.array(7), axis=1)
    g.node("DFT", z, axis=1)
    g.node("DFT", z, axis=1, inverse=1)
    g.node("DFT", z, axis=2)
    g.node("DFT", z, axis=2, inverse=1)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 16)], allowed=2e-4 if dtype == F32 else 1e-7, **target)


def test_stft(target, tmp_path):
    g = Graph(opset=17)
    x, z = g.input("x", ["n", "m", 1]), g.input("z", ["n", "m", 2])
    window = g.node("HannWindow", np.array(8))
    g.node("STFT", x, np.array(3), window, np.array(8))
    g.node("STFT", x, np.array(4), "", np.array(6), onesided=0)
    g.node("STFT", z, np.array(4), weight(0, 5), onesided=0)
    check(g, tmp_path, [(2, 20), (1, 8), (3, 33)], **target)


def test_windows_of_signals(target, tmp_path):
    g = Graph(opset=17)
    x = g.input("x", ["n"])
    n = g.node("Size", x)
    for name in ("HannWindow", "HammingWindow", "BlackmanWindow"):
        g.node(name, np.array(10))
        g.node(name, np.array(9), periodic=0)
        g.node(name, n, output_datatype=TensorProto.DOUBLE)
    g.node("MelWeightMatrix", np.array(8), np.array(16), np.array(8192), np.array(0.0, F32), np.array(4096.0, F32))
    g.node("MelWeightMatrix", np.array(5), np.array(64), np.array(16000), np.array(20.0, F32), np.array(7600.0, F32))
    check(g, tmp_path, [(7,), (2,), (33,)], allowed=1e-5, **target)


def test_affine_grid(target, tmp_path):
    g = Graph(opset=20)
    theta, volume = g.input("theta", ["n", 2, 3]), g.input("volume", ["n", 3, 4])
    x = g.input("x", ["n", 3, "m", "k"])
    for corners in (0, 1):
        g.node("AffineGrid", theta, g.node("Shape", x), align_corners=corners)
        g.node("AffineGrid", volume, np.array([2, 1, 4, 3, 5]), align_corners=corners)
    check(g, tmp_path, [(2, 3, 5), (2, 7, 2), (2, 33, 4)], **target)


@pytest.mark.parametrize("padding", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("corners", [0, 1])
def test_grid_sample(corners, padding, target, tmp_path):
    g = Graph(opset=20)
    x, volume = g.input("x", ["n", 3, "m", "k"]), g.input("volume", ["n", 2, 3, "m", 4])
    grid, places = g.input("grid", ["n", 4, "k", 2], values=(-1.6, 1.6)), g.input("places", ["n", 2, 3, 2, 3], values=(-1.6, 1.6))
    for mode in ("nearest", "linear", "cubic"):
        g.node("GridSample", x, grid, mode=mode, padding_mode=padding, align_corners=corners)
    for mode in ("nearest", "linear"):
        g.node("GridSample", volume, places, mode=mode, padding_mode=padding, align_corners=corners)
    check(g, tmp_path, [(2, 3, 5), (1, 7, 2), (3, 4, 16)], **target)


@pytest.mark.parametrize("transformation", ["half_pixel", "output_half_pixel"])
def test_roi_align(transformation, target, tmp_path):
    g = Graph(opset=16)
    x = g.input("x", [2, 3, "m", "k"])
    rois, batch = g.input("rois", ["n", 4], values=(-2.0, 12.0)), g.input("batch", ["n"], I64, (0, 2))
    size = {"output_height": 3, "output_width": 2, "coordinate_transformation_mode": transformation}
    g.node("RoiAlign", x, rois, batch, sampling_ratio=2, spatial_scale=0.5, **size)
    g.node("RoiAlign", x, rois, batch, sampling_ratio=1, **size)
    g.node("RoiAlign", x, rois, batch, sampling_ratio=1, mode="max", **size)
    check(g, tmp_path, [(5, 7, 9), (1, 2, 3), (33, 16, 8)], **target)


@pytest.mark.parametrize("dtype", [U8, I8], ids=lambda t: np.dtype(t).name)
def test_conv_of_integers(dtype, target, tmp_path):
    g = Graph(opset=20)
    x = g.input("x", ["n", 4, "m", "k"], dtype, (0, 100))
    w = np.random.default_rng(0).integers(0, 90, (6, 4, 3, 3)).astype(dtype)
    if dtype == U8:  # which is all that ONNX Runtime has
        g.node("ConvInteger", x, w, np.array(7, U8), np.array(3, U8), pads=[1, 0, 0, 1])
        g.node("ConvInteger", x, w[:, :2], np.array(7, U8), group=2, strides=[2, 1])
    scale = lambda value: np.array(value, F32)  # noqa: E731
    point = lambda value: np.array(value, dtype)  # noqa: E731
    bias = np.arange(6, dtype=np.int32) * 100
    arguments = [x, scale(0.02), point(9), w, scale(0.01), point(0), scale(0.37), point(4)]
    g.node("QLinearConv", *arguments, pads=[1, 1, 1, 1])
    g.node("QLinearConv", *arguments, bias, strides=[2, 2])
    check(g, tmp_path, [(2, 7, 9), (1, 4, 5), (3, 16, 6)], **target)


def test_col2im(target, tmp_path):
    g = Graph(opset=20)
    g.node("Col2Im", g.input("x", ["n", 2 * 6, 12]), np.array([5, 5]), np.array([2, 3]))
    g.node("Col2Im", g.input("y", ["n", 3 * 4, 9]), np.array([5, 5]), np.array([2, 2]), strides=[2, 2], pads=[0, 0, 1, 1])
    g.node("Col2Im", g.input("z", ["n", 1 * 4, 16]), np.array([6, 6]), np.array([2, 2]), dilations=[2, 2])
    check(g, tmp_path, [(2,), (1,), (7,)], **target)


def test_center_crop_pad(target, tmp_path):
    g = Graph(opset=20)
    x, y = g.input("x", ["n", "m", 5]), g.input("y", ["m", 3])
    g.node("CenterCropPad", x, np.array([4, 3, 8]))
    g.node("CenterCropPad", x, np.array([2]), axes=[-1])
    g.node("CenterCropPad", x, g.node("Shape", y), axes=[0, 2])
    check(g, tmp_path, [(2, 3), (5, 1), (7, 33)], **target)


@pytest.mark.parametrize("dtype", [F32, F64, F16, I64, I8, U8], ids=lambda t: np.dtype(t).name)
def test_shrink(dtype, target, tmp_path):
    g = Graph(opset=20)
    x = g.input("x", ["n", "m"], dtype)
    g.node("Shrink", x)
    g.node("Shrink", x, lambd=1.5, bias=1.0)
    # ONNX Runtime computes doubles as floats.
    check(g, tmp_path, [(2, 3), (1, 1), (33, 7)], allowed=1e-6 if dtype == F64 else None, **target)


def test_layer_norm_statistics(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", "m", 6])
    g.node("LayerNormalization", x, weight(0, 6), count=3, epsilon=1e-2)
    g.node("LayerNormalization", x, weight(0, 1, 6), weight(1, 6), count=3, axis=1)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 33)], **target)
