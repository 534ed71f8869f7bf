# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Operators whose parameters are data: one artifact, other axes, lengths and scales in each run."""

import numpy as np
import onnx
import onnx.reference
import pytest
from graphs import BOOL, F32, F64, I32, I64, Graph, check

import lathe


def axes_of(rank):
    """Distinct axes, some of them counted from the end."""
    return lambda random, shape: random.permutation(rank)[: int(np.prod(shape))] - rank * random.integers(0, 2, shape or None)


def fed(graph, folder, target, **feeds):
    """Compiles and runs a graph on these inputs."""
    onnx.save(graph.model(), folder / "graph.onnx")
    path = lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)
    return lathe.load(path).session().run(feeds)


SIZES = [(2, 3, 7), (1, 1, 1), (7, 1, 3), (4, 33, 2), (3, 2, 5), (0, 2, 3), (2, 3, 0)]
KINDS = ["Sum", "Mean", "Max", "Min", "Prod", "L1", "L2", "SumSquare", "LogSum", "LogSumExp"]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_reductions(count, target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", "m", "k"], F32, (0.5, 2.0))
    axes = g.input("axes", [count], I64, axes_of(3))
    for i, kind in enumerate(KINDS):
        g.node(f"Reduce{kind}", x, axes, keepdims=i % 2)
        g.node(f"Reduce{kind}", x, axes, keepdims=1 - i % 2, noop_with_empty_axes=1)
    check(g, tmp_path, SIZES[:5], **target)


@pytest.mark.parametrize("dtype", [F64, I32, I64, BOOL], ids=lambda t: np.dtype(t).name)
def test_reductions_of_other_types(dtype, target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", 3, "m", 2], dtype)
    for count in (1, 2):
        axes = g.input(f"axes{count}", [count], I64, axes_of(4))
        for kind in ["Max", "Min"] + ([] if dtype == BOOL else ["Sum", "Prod"]):
            g.node(f"Reduce{kind}", x, axes, keepdims=0)
    check(g, tmp_path, [(2, 3), (1, 1), (5, 9)], **target)


def test_axes_that_the_run_computes(target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", "m", "k"])
    # The place of the largest extent, as the run finds it.
    axis = g.node("ArgMax", g.node("Abs", g.input("weights", [3], F32)), keepdims=1)
    g.node("ReduceSum", x, axis, keepdims=0)
    g.node("Unsqueeze", x, axis)
    g.node("CumSum", x, g.node("Squeeze", axis, [0]))
    check(g, tmp_path, SIZES[:5], **target)


def test_squeeze_and_unsqueeze(target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", "m"])
    one, two = g.input("one", [1], I64, axes_of(3)), g.input("two", [2], I64, axes_of(4))
    wide = g.node("Unsqueeze", x, two)
    g.node("Squeeze", wide, two)
    tall = g.node("Unsqueeze", x, one)
    g.node("Squeeze", tall, one)
    g.output(wide, tall)
    check(g, tmp_path, SIZES + [(5, 3, 1)] * 4, **target)


def test_squeeze_wants_extents_of_one(target, tmp_path):
    g = Graph(20)
    g.node("Squeeze", g.input("x", [1, 3, 1]), g.input("axes", [1], I64))
    x = np.ones([1, 3, 1], F32)
    assert fed(g, tmp_path, target, x=x, axes=np.array([2]))["squeeze_0"].shape == (1, 3)
    with pytest.raises(lathe.Error, match=r"Squeeze_0.*expects extents of 1 at the squeezed axes"):
        fed(g, tmp_path, target, x=x, axes=np.array([1]))


def test_axes_that_do_not_fit(target, tmp_path):
    g = Graph(20)
    g.node("ReduceSum", g.input("x", ["n", 3, 1]), g.input("axes", [2], I64))
    x = np.ones([2, 3, 1], F32)
    assert fed(g, tmp_path, target, x=x, axes=np.array([-1, 1]))["reducesum_0"].shape == (2, 1, 1)
    for axes in ([1, 3], [-4, 0], [1, 1], [-1, 2]):
        with pytest.raises(lathe.Error, match=r"ReduceSum_0.*expects distinct axes within rank 3"):
            fed(g, tmp_path, target, x=x, axes=np.array(axes))


def test_slices(target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", "m", "k"])
    bounds = [g.input(name, [2], I64, lambda random, shape: random.integers(-9, 9, shape)) for name in ("starts", "ends")]
    far = [g.input("from", [2], I64, [2**63 - 1, -(2**63)]), g.input("to", [2], I64, [-(2**63), 2**63 - 1])]
    axes = g.input("axes", [2], I64, axes_of(3))
    steps = g.input("steps", [2], I64, lambda random, shape: random.choice([-3, -1, 1, 2, 2**62, -(2**63)], shape))
    g.node("Slice", x, *bounds, axes)
    g.node("Slice", x, *bounds, axes, steps)
    g.node("Slice", x, *bounds, [2, 0], steps)
    g.node("Slice", x, *bounds, axes, [-1, 2])
    g.node("Slice", x, *far, axes, g.input("minus", [2], I64, [-1, 1]))
    check(g, tmp_path, SIZES + [(5, 7, 9)] * 3, **target)


def test_pads(target, tmp_path):
    g = Graph(19)
    x = g.input("x", ["n", "m", "k"])
    pads = g.input("pads", [4], I64, lambda random, shape: random.integers(0, 2, shape))
    axes = g.input("axes", [2], I64, axes_of(3))
    for mode in ("constant", "edge", "reflect"):
        g.node("Pad", x, pads, np.array(3, F32), axes, mode=mode)
    check(g, tmp_path, [(2, 3, 7), (4, 2, 3), (3, 5, 2)], **target)


def test_running_sums(target, tmp_path):
    g = Graph(14)
    x = g.input("x", ["n", "m", "k"])
    axis = g.input("axis", [], I64, axes_of(3))
    g.node("CumSum", x, axis)
    g.node("CumSum", g.input("i", ["n", 4], I32), g.input("short", [1], I32, axes_of(2)), exclusive=1, reverse=1)
    check(g, tmp_path, SIZES, **target)


@pytest.mark.parametrize("dims", [2, 3, 4, 6])
def test_reshape(dims, target, tmp_path):
    """Extents given as data, one of them inferred, some of them copied."""
    g = Graph(20)
    x = g.input("x", ["n", "m", "k", 6])

    def shape_of(random, _):
        return {2: [[0, -1], [6, -1]], 3: [[0, 0, -1], [-1, 6, 1]], 4: [[0, -1, 0, 3], [3, 0, 2, -1]],
                6: [[0, 0, 0, 3, -1, 1], [-1, 1, 1, 2, 3, 1]]}[dims][random.integers(0, 2)]  # fmt: skip

    g.node("Reshape", x, g.input("shape", [dims], I64, shape_of))
    g.node("Add", g.node("Reshape", x, "shape"), g.node("Reshape", g.input("y", ["n", "m", "k", 6]), "shape"))
    check(g, tmp_path, [(2, 3, 4), (1, 3, 2), (5, 3, 7), (3, 3, 1)], **target)


def test_expand(target, tmp_path):
    """The shape of the data may have ones where the input has none, and the other way around."""
    g = Graph(20)
    g.node("Expand", g.input("x", ["n", "m", "k"]), g.input("shape", [3], I64))
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    for dims, to in [((2, 3, 4), (1, 3, 1)), ((1, 3, 4), (2, 1, 4)), ((2, 1, 0), (1, 1, 1)), ((5, 1, 1), (5, 2, 3))]:
        x = np.random.default_rng(0).normal(size=dims).astype(F32)
        y = session.run({"x": x, "shape": np.array(to)})["expand_0"]
        np.testing.assert_array_equal(y, x * np.ones(to, F32))
    with pytest.raises(lathe.Error, match=r"Expand_0.*expects a shape that the input broadcasts to"):
        session.run({"x": np.ones((2, 3, 4), F32), "shape": np.array([1, 2, 1])})


@pytest.mark.parametrize("dtype", [F32, F64], ids=lambda t: np.dtype(t).name)
def test_ranges_of_floats(dtype, target, tmp_path):
    g = Graph(20)
    start, limit = g.input("start", [], dtype, (-3.0, 3.0)), g.input("limit", [], dtype, (-9.0, 9.0))
    g.node("Range", start, limit, g.input("delta", [], dtype, lambda random, shape: random.choice([-0.75, 0.5, 2.25])))
    g.node("Range", np.array(0, dtype), limit, np.array(0.25, dtype))
    check(g, tmp_path, [()] * 8, **target)


def test_a_range_without_end(target, tmp_path):
    g = Graph(20)
    g.node("Range", np.array(0, F32), np.array(1, F32), g.input("delta", [], F32))
    with pytest.raises(lathe.Error, match="Range_0.*2\\^46"):
        fed(g, tmp_path, target, delta=np.array(0, F32))


MODES = [("nearest", "asymmetric"), ("linear", "half_pixel"), ("linear", "align_corners"), ("cubic", "half_pixel")]


@pytest.mark.parametrize("mode, transformation", MODES)
def test_resize_by_scales(mode, transformation, target, tmp_path):
    g = Graph(19)
    x = g.input("x", [1, 2, "n", "m"])
    # ONNX Runtime aligns the corners of a result that was rounded down, unlike the operator's definition.
    factors = [0.5, 1.5, 2.0, 3.0] if transformation == "align_corners" else [0.5, 0.7, 1.5, 2.0, 3.25]
    scales = g.input("scales", [4], F32, lambda random, shape: [1, 1, *random.choice(factors, 2)])
    g.node("Resize", x, "", scales, mode=mode, coordinate_transformation_mode=transformation)
    check(g, tmp_path, [(4, 6), (8, 10), (6, 4), (16, 12)], **target)


@pytest.mark.parametrize("mode", ["linear", "cubic"])
@pytest.mark.parametrize("outside", [0, 1])
def test_resize_without_aliases(mode, outside, target, tmp_path):
    """By constant scales, by sizes that are data, and by scales that are."""
    g = Graph(19)
    x = g.input("x", [1, 2, "n", "m"])
    options = dict(mode=mode, antialias=1, exclude_outside=outside)
    g.node("Resize", x, "", np.array([1, 1, 0.4, 1.7], F32), **options)
    sizes = g.input("sizes", [4], I64, lambda random, shape: [1, 2, *random.integers(1, 12, 2)])
    g.node("Resize", x, "", "", sizes, **options)
    if not outside:  # ONNX Runtime leaves an axis alone whose extent stays the same, whatever its scale
        factors = [0.35, 0.55, 0.77, 1.3, 1.7]
        g.node("Resize", x, "", g.input("scales", [4], F32, lambda random, shape: [1, 1, *random.choice(factors, 2)]), **options)
    check(g, tmp_path, [(8, 5), (7, 9), (16, 12)], **target)


@pytest.mark.parametrize("policy", ["not_larger", "not_smaller"])
def test_resize_keeps_the_aspect(policy, target, tmp_path):
    g = Graph(19)
    x = g.input("x", [1, 2, "n", "m"])
    sizes = g.input("sizes", [2], I64, lambda random, shape: random.integers(1, 20, 2))
    options = dict(axes=[2, 3], keep_aspect_ratio_policy=policy, mode="nearest")
    g.node("Resize", x, "", "", sizes, **options)
    g.node("Resize", x, "", "", [9, 7], **options)
    check(g, tmp_path, [(8, 5), (7, 9), (16, 12), (3, 3)], **target)


def test_fourier_transforms(target, tmp_path):
    g = Graph(20)
    x = g.input("x", ["n", "m", "k", 2])
    axis = g.input("axis", [], I64, lambda random, shape: random.choice([0, 1, 2, -2, -3, -4]))
    length = g.input("length", [], I64, lambda random, shape: random.integers(1, 12))
    g.node("DFT", x, length, axis)
    g.node("DFT", x, "", axis, inverse=1)
    check(g, tmp_path, [(2, 3, 7), (1, 4, 2), (5, 1, 6), (8, 16, 3)], **target)


@pytest.mark.parametrize("parts", [1, 2])
def test_fourier_transforms_of_either_kind(parts, target, tmp_path):
    # Whether numbers are real or complex is an extent that the run knows.
    g = Graph(20)
    x = g.input("x", ["n", "m", "k"])
    g.node("DFT", x, "", np.array(0))
    g.node("DFT", x, np.array(6), np.array(1))
    g.node("DFT", x, "", np.array(1), inverse=1)
    if parts == 1:
        g.node("DFT", x, "", np.array(1), onesided=1)
    check(g, tmp_path, [(2, 3, parts), (1, 8, parts), (5, 1, parts)], **target)
    session = lathe.load(tmp_path / "graph.lathe").session()
    with pytest.raises(lathe.Error, match="expects a signal whose last dimension is 1 or 2"):
        session.run(g.feeds((2, 3, 3)))


def test_frames_of_either_kind(target, tmp_path):
    g = Graph(17)
    signal = g.input("signal", [2, "n", "m"])
    g.node("STFT", signal, np.array(3), g.input("window", [16]), onesided=0)
    check(g, tmp_path, [(64, 1), (16, 2), (33, 1)], **target)


def test_frames(target, tmp_path):
    g = Graph(17)
    signal = g.input("signal", [2, "n", 1])
    step = g.input("step", [], I64, lambda random, shape: random.integers(1, 9))
    g.node("STFT", signal, step, g.input("window", [16]))
    g.node("STFT", signal, step, "", np.array(8))
    check(g, tmp_path, [(64,), (16,), (33,)], **target)


def test_mel_weights(target, tmp_path):
    g = Graph(17)
    bands = g.input("bands", [], I64, lambda random, shape: random.integers(3, 20))
    edges = [g.input("low", [], F32, (0.0, 300.0)), g.input("high", [], F32, (4000.0, 7900.0))]
    g.node("MelWeightMatrix", bands, g.input("length", [], I64, (64, 512)), g.input("rate", [], I64, (16000, 22050)), *edges)
    check(g, tmp_path, [()] * 5, **target)


def test_images_of_columns(target, tmp_path):
    g = Graph(18)
    # Blocks of 1 to 3 by 1 to 3 in an image that is as large as fits.
    block = g.input("block", [2], I64, lambda random, shape: [[1, 2], [3, 1], [2, 3]][random.integers(0, 3)])
    g.node("Col2Im", g.input("x", ["n", "c", "l"]), g.input("image", [2], I64), block, pads=[1, 0, 0, 1], strides=[2, 1])
    onnx.save(g.model(), tmp_path / "graph.onnx")
    session = lathe.load(lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe", **target)).session()
    for a, b in [(1, 2), (3, 1), (2, 3)]:
        image = np.array([6, 5])
        places = ((6 + 1 - a) // 2 + 1) * (5 + 1 - b + 1)
        x = np.random.default_rng(a).normal(size=(2, 3 * a * b, places)).astype(F32)
        feeds = {"x": x, "image": image, "block": np.array([a, b])}
        expected = onnx.reference.ReferenceEvaluator(g.model()).run(None, feeds)[0]
        np.testing.assert_allclose(session.run(feeds)["col2im_0"], expected, rtol=1e-5, atol=1e-6)


def test_parts_must_fit(target, tmp_path):
    g = Graph(18)
    g.node("Split", g.input("x", [5, "n"]), g.input("parts", [2], I64), axis=0, count=2)
    x = np.arange(10, dtype=F32).reshape(5, 2)
    outputs = fed(g, tmp_path, target, x=x, parts=np.array([1, 4]))
    np.testing.assert_array_equal(outputs["split_0_1"], x[1:])
    for parts in ([2, 2], [-1, 6]):
        with pytest.raises(lathe.Error, match="Split_0.*expects parts of at least 0 that sum up"):
            fed(g, tmp_path, target, x=x, parts=np.array(parts))
