# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Convolutions, pools, pads and resampling equal ONNX Runtime, at several shapes from one artifact."""

import numpy as np
import pytest
from graphs import BOOL, F16, F32, F64, I8, I64, U8, Graph, check


def weight(seed, *shape, dtype=F32):
    return np.random.default_rng(seed).normal(0, 0.5, shape).astype(dtype)


# n images of m by k; the smallest that the kernels of the tests fit into with their pads, and no image at all.
IMAGES = [(2, 7, 9), (1, 5, 5), (3, 16, 6), (0, 7, 7), (1, 33, 8)]


def test_conv(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 4, "m", "k"])
    w, b = weight(0, 6, 4, 3, 3), weight(1, 6)
    g.node("Conv", x, w)
    g.node("Conv", x, w, b, pads=[1, 1, 1, 1])
    g.node("Relu", g.node("Conv", x, w, b, pads=[0, 2, 1, 0], strides=[2, 3]))
    g.node("Conv", x, w, b, dilations=[2, 1], strides=[1, 2])
    g.node("Conv", x, weight(2, 6, 4, 1, 1), b)
    g.node("Conv", x, weight(2, 6, 4, 1, 1), b, strides=[2, 2])
    g.node("Conv", x, weight(3, 8, 4, 2, 2), strides=[2, 2])
    g.node("Conv", x, weight(4, 5, 4, 2, 3), kernel_shape=[2, 3])
    for auto_pad in ("SAME_UPPER", "SAME_LOWER", "VALID"):
        g.node("Conv", x, weight(5, 3, 4, 4, 3), weight(6, 3), auto_pad=auto_pad, strides=[1, 2])
    check(g, tmp_path, IMAGES, **target)


def test_conv_groups(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 4, "m", "k"])
    g.node("Conv", x, weight(0, 6, 2, 3, 3), weight(1, 6), group=2, pads=[1, 0, 1, 2])
    g.node("Conv", x, weight(2, 4, 1, 3, 2), weight(3, 4), group=4, strides=[1, 2], pads=[1, 1, 1, 1])
    g.node("Gelu", g.node("Conv", x, weight(2, 4, 1, 3, 3), group=4, dilations=[2, 1]), approximate="none")
    g.node("Conv", x, weight(4, 8, 1, 3, 3), weight(5, 8), group=4)
    g.opset = 20
    check(g, tmp_path, IMAGES, **target)


def test_conv_of_other_ranks(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 5, "m"]), g.input("y", ["n", 2, "m", 4, "k"])
    g.node("Conv", x, weight(0, 7, 5, 3), weight(1, 7), pads=[1, 1])
    g.node("Conv", x, weight(0, 7, 5, 3), weight(1, 7), strides=[2], pads=[1, 1])
    g.node("Conv", x, weight(2, 5, 1, 5), group=5, pads=[4, 0])
    g.node("Conv", y, weight(3, 3, 2, 2, 3, 2), weight(4, 3), pads=[0, 1, 0, 1, 1, 0], strides=[1, 2, 1])
    check(g, tmp_path, [(2, 7, 3), (1, 3, 2), (3, 33, 5), (0, 5, 2)], **target)


def test_patches(target, tmp_path):
    """Windows that neither overlap nor leave gaps, on images of fixed size: also where some columns are left over."""
    g = Graph()
    x = g.input("x", ["n", 3, 9, 8])
    g.node("Conv", x, weight(0, 5, 3, 4, 4), weight(1, 5), strides=[4, 4])
    y = g.node("Conv", x, weight(2, 5, 3, 3, 2), strides=[3, 2])
    g.node("Transpose", g.node("Reshape", y, [0, 5, -1]), perm=[0, 2, 1])
    check(g, tmp_path, [(1,), (2,), (7,), (0,)], **target)


@pytest.mark.parametrize("dtype", [F64, F16], ids=lambda t: np.dtype(t).name)
def test_conv_types(dtype, target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 2, "m", 5], dtype)
    g.node("Conv", x, weight(0, 4, 2, 3, 3, dtype=dtype), weight(1, 4, dtype=dtype), pads=[1, 1, 1, 1])
    g.node("Conv", x, weight(2, 2, 1, 3, 3, dtype=dtype), group=2)
    check(g, tmp_path, [(2, 7), (1, 3)], **target)


def test_conv_of_computed_weights(target, tmp_path):
    """A weight that is an input, of dimensions that the run tells."""
    g = Graph()
    x, w = g.input("x", ["n", "c", "m"]), g.input("w", [4, "c", "k"])
    g.node("Conv", x, w, pads=[1, 1])
    g.node("ConvTranspose", g.input("y", ["n", 4, "m"]), w, strides=[2])
    sizes = [{"n": 2, "c": 3, "m": 7, "k": 3}, {"n": 1, "c": 1, "m": 5, "k": 2}, {"n": 1, "c": 2, "m": 1, "k": 1}]
    check(g, tmp_path, sizes, **target)


def test_conv_transpose(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 4, "m", "k"])
    w, b = weight(0, 4, 3, 3, 2), weight(1, 3)
    g.node("ConvTranspose", x, w)
    g.node("ConvTranspose", x, w, b, strides=[2, 3], pads=[1, 0, 0, 1])
    g.node("ConvTranspose", x, w, b, strides=[2, 3], output_padding=[1, 2], dilations=[2, 1])
    g.node("ConvTranspose", x, weight(2, 4, 3, 3, 3), weight(3, 6), group=2, strides=[2, 1])
    g.node("ConvTranspose", x, weight(4, 4, 1, 2, 2), group=4, strides=[2, 2])
    g.node("ConvTranspose", x, w, auto_pad="SAME_UPPER", strides=[2, 2])
    check(g, tmp_path, IMAGES, **target)


def test_conv_transpose_to_a_shape(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 2, 5])
    for auto_pad in ("NOTSET", "SAME_UPPER", "SAME_LOWER"):
        g.node("ConvTranspose", x, weight(0, 2, 3, 4), strides=[2], output_shape=[9], auto_pad=auto_pad)
    check(g, tmp_path, [(2,), (1,)], **target)


@pytest.mark.parametrize("dtype", [F32, F64, F16, I8, U8], ids=lambda t: np.dtype(t).name)
def test_max_pool(dtype, target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 3, "m", "k"], dtype)
    g.node("MaxPool", x, kernel_shape=[3, 3])
    g.node("MaxPool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])
    g.node("MaxPool", x, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)
    g.node("MaxPool", x, kernel_shape=[2, 2], dilations=[2, 3])
    g.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    g.node("MaxPool", x, kernel_shape=[2, 3], strides=[2, 1], pads=[1, 0, 0, 1], count=2)
    g.node("MaxPool", x, kernel_shape=[2, 3], strides=[1, 2], storage_order=1, count=2)
    check(g, tmp_path, IMAGES, **target)


def test_pools(target, tmp_path):
    g = Graph()
    x, y = g.input("x", ["n", 3, "m", "k"]), g.input("y", ["n", 3, "m"])
    g.node("AveragePool", x, kernel_shape=[3, 3])
    g.node("AveragePool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1])
    g.node("AveragePool", x, kernel_shape=[3, 2], strides=[2, 2], pads=[1, 0, 1, 1], count_include_pad=1)
    g.node("AveragePool", x, kernel_shape=[2, 3], strides=[2, 2], ceil_mode=1)
    g.node("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_LOWER")
    g.node("AveragePool", y, kernel_shape=[4], pads=[2, 1])
    g.node("LpPool", x, kernel_shape=[3, 2], strides=[2, 1], p=1)
    g.node("LpPool", x, kernel_shape=[3, 2], pads=[1, 1, 0, 0])
    g.node("LpPool", x, kernel_shape=[2, 2], p=3)
    g.node("MaxPool", y, kernel_shape=[3], strides=[3], pads=[1, 1])
    check(g, tmp_path, IMAGES, **target)


def test_global_pools(target, tmp_path):
    g = Graph(opset=20)
    x, y = g.input("x", ["n", 3, "m", "k"]), g.input("y", ["n", 2, "m", "k", 2])
    for value in (x, y):
        g.node("GlobalAveragePool", value)
        g.node("GlobalMaxPool", value)
        g.node("GlobalLpPool", value, p=1)
        g.node("GlobalLpPool", value)
    check(g, tmp_path, [(2, 7, 3), (1, 1, 1), (3, 33, 2), (0, 2, 3)], **target)


@pytest.mark.parametrize("dtype", [F32, F64, I64, I8, BOOL], ids=lambda t: np.dtype(t).name)
def test_pad(dtype, target, tmp_path):
    g = Graph(opset=19)
    x = g.input("x", ["n", "m", 4], dtype)
    value = np.ones((), dtype)
    g.node("Pad", x, [0, 1, 2, 3, 0, 1])
    g.node("Pad", x, [0, 1, 2, 3, 0, 1], value)
    g.node("Pad", x, [1, -1, -2, 0, 2, 1], value)
    g.node("Pad", x, [2, 1, 0, 3], value, np.array([-1, 1]))
    g.node("Pad", x, [0, 0, 0, 0, 0, 0])
    if dtype != BOOL:
        for mode in ("edge", "reflect", "wrap"):
            g.node("Pad", x, [0, 1, 2, 0, 1, 3], mode=mode)
            g.node("Pad", x, [3, 2], "", np.array([-1]), mode=mode)
    check(g, tmp_path, [(2, 3), (1, 2), (33, 7), (0, 3)], **target)


def test_pad_to_a_multiple(target, tmp_path):
    """Pads that follow from the shape, as exporters of windowed attention compute them."""
    g = Graph()
    x = g.input("x", ["n", "m", 3])
    m = g.node("Gather", g.node("Shape", x), [1])
    rest = g.node("Mod", g.node("Sub", np.array([8]), g.node("Mod", m, np.array([8]))), np.array([8]))
    pads = g.node("Concat", [0, 0, 0, 0], rest, [0], axis=0)
    padded = g.node("Pad", g.node("Exp", x), pads, np.zeros((), F32))
    g.node("ReduceSum", g.node("Reshape", padded, [0, -1, 8, 3]), [2], keepdims=0)
    g.node("Pad", x, g.input("p", [2], I64, (0, 3)), np.ones((), F32), np.array([1]))
    check(g, tmp_path, [(2, 3), (1, 8), (3, 17), (0, 3)], **target)


def test_pad_refuses(tmp_path):
    import lathe

    g = Graph(opset=19)
    g.node("Pad", g.input("x", ["n", 4]), [0, -3, 0, -2])
    import onnx

    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match="expects pads that leave something of the input, got an extent of -1 at axis 1"):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")


def test_depth_and_space(target, tmp_path):
    g = Graph()
    x = g.input("x", ["n", 8, "m", "k"])
    g.node("DepthToSpace", x, blocksize=2)
    g.node("DepthToSpace", x, blocksize=2, mode="CRD")
    g.node("SpaceToDepth", g.input("y", ["n", 3, "2 * m", "2 * k"]), blocksize=2)
    check(g, tmp_path, [(2, 3, 2), (1, 1, 1), (3, 7, 5), (0, 2, 2)], **target)
