# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""More of com.microsoft: equal to ONNX Runtime, or, where it has no kernel, to what an operator stands for."""

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import BOOL, F32, I8, I16, I32, I64, U8, ContribGraph, Graph, assert_runs_same, assert_same, check

import lathe

SIZES = [(2, 3, 5), (1, 1, 1), (3, 7, 2), (1, 33, 4)]


def compiled(g, folder, target):
    onnx.save(g.model(), folder / "graph.onnx")
    return lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session()


def compare(g, reference, folder, target, sizes=SIZES):
    """As check, for graphs whose outputs have other names than the reference's."""
    session = compiled(g, folder, target)
    oracle = onnxruntime.InferenceSession(reference.model().SerializeToString(), providers=["CPUExecutionProvider"])
    assert_runs_same(g, session, oracle, sizes)


def pair(*inputs, opset=20):
    """A graph and its reference, with the same inputs."""
    g, reference = ContribGraph(opset), Graph(opset)
    for graph in (g, reference):
        for name, dims, *rest in inputs:
            graph.input(name, dims, *rest)
    return g, reference


def sized(g):
    """An input whose dimensions are n, m and k alone, as those of the others may be sums."""
    g.input("dims", ["n", "m", "k"], BOOL)
    return g


def full(dtype):
    info = np.iinfo(dtype)
    return lambda random, shape: random.integers(info.min, info.max, shape, endpoint=True)


def steps(g, folder, sizes, target):
    """Within one step of ONNX Runtime, which rounds in tables and in fixed point."""
    session = compiled(g, folder, target)
    oracle = onnxruntime.InferenceSession(folder / "graph.onnx", providers=["CPUExecutionProvider"])
    for size in sizes:
        feeds = g.feeds(size)
        outputs = session.run(feeds)
        for info, expected in zip(oracle.get_outputs(), oracle.run(None, feeds)):
            assert outputs[info.name].dtype == expected.dtype
            difference = np.abs(outputs[info.name].astype(I32) - expected.astype(I32))
            assert difference.max(initial=0) <= 1, info.name


# Convolutions, pools and norms


@pytest.mark.parametrize("activation, parameters", [
    ("Relu", None), ("Tanh", None), ("Sigmoid", None), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]), ("HardSigmoid", [0.3, 0.4]),
])  # fmt: skip
def test_fused_convolutions(activation, parameters, target, tmp_path):
    g = sized(ContribGraph(17))
    x, w, b = g.input("x", ["n", 4, "m+3", "k+4"]), g.input("w", [6, 2, 3, 3]), g.input("b", [6])
    options = {"activation": activation, **({"activation_params": parameters} if parameters else {})}
    g.node("FusedConv", x, w, b, group=2, pads=[1, 1, 1, 1], **options)
    g.node("FusedConv", x, w, b, g.input("z", ["n", 6, "m+1", "k+2"]), group=2, **options)
    check(g, tmp_path, SIZES, **target)


def test_images_with_channels_last(target, tmp_path):
    g, reference = pair(("dims", ["n", "m", "k"], BOOL), ("x", ["n", "m+3", "k+3", 4]), ("w", [6, 2, 3, 3]), ("b", [6]), ("z", ["n", "m+1", "k+1", 6]))
    to, back = {"perm": [0, 3, 1, 2]}, {"perm": [0, 2, 3, 1]}
    g.node("NhwcConv", "x", "w", "b", group=2, strides=[2, 1])
    g.node("NhwcFusedConv", "x", "w", "b", "z", group=2, activation="Relu")
    turned = reference.node("Transpose", "x", **to)
    reference.node("Transpose", reference.node("Conv", turned, "w", "b", group=2, strides=[2, 1]), **back)
    dense = reference.node("Transpose", reference.node("Conv", turned, "w", "b", group=2), **back)
    reference.node("Relu", reference.node("Add", dense, "z"))
    compare(g, reference, tmp_path, target)


def test_quantized_images(target, tmp_path):
    g = sized(ContribGraph(17))
    x = g.input("x", ["n", 4, "m+3", "k+3"], U8, full(U8))
    last = g.input("last", ["n", "m+3", "k+3", 4], U8, full(U8))
    s, z = np.float32(0.03), U8(5)
    for options in ({}, {"pads": [1, 1, 1, 1]}, {"pads": [1, 0, 1, 0], "count_include_pad": 1, "strides": [2, 2]}):
        g.node("QLinearAveragePool", x, s, z, np.float32(0.02), U8(3), kernel_shape=[3, 2], **options)
    g.node("QLinearAveragePool", last, s, z, np.float32(0.02), U8(3), kernel_shape=[2, 2], channels_last=1)
    g.node("NhwcMaxPool", last, kernel_shape=[2, 2], strides=[2, 2])
    w = np.random.default_rng(0).integers(-9, 9, (6, 4, 3, 3)).astype(I8)
    g.node("QLinearConv", last, s, z, w, np.float32(0.02), I8(0), np.float32(0.2), U8(9), channels_last=1, pads=[1] * 4)
    steps(g, tmp_path, SIZES, target)


def test_group_norms(target, tmp_path):
    g, reference = pair(("x", ["n", "m", "k", 8]), ("v", [8]), ("w", [8]), ("s", ["n", "m", "k", 8]), ("t", ["n", 8]), ("b", [8]),
                        ("y", ["n", 8, "m", "k"]), opset=21)  # fmt: skip

    def norm(value, last, silu):
        if last:
            value = reference.node("Transpose", value, perm=[0, 3, 1, 2])
        value = reference.node("GroupNormalization", value, "v", "w", num_groups=4, epsilon=1e-3)
        if last:
            value = reference.node("Transpose", value, perm=[0, 2, 3, 1])
        return reference.node("Mul", value, reference.node("Sigmoid", value)) if silu else value

    g.node("GroupNorm", "x", "v", "w", groups=4, epsilon=1e-3, activation=0)
    g.node("GroupNorm", "y", "v", "w", groups=4, epsilon=1e-3, activation=1, channels_last=0)
    g.node("SkipGroupNorm", "x", "v", "w", "s", "b", groups=4, epsilon=1e-3, activation=1, count=2)
    g.node("SkipGroupNorm", "x", "v", "w", "t", groups=4, epsilon=1e-3, activation=0)
    norm("x", True, False), norm("y", False, True)
    total = reference.node("Add", reference.node("Add", "x", "s"), "b")
    norm(total, True, True)
    reference.nodes.append(reference.nodes.pop())
    by_row = reference.node("Reshape", "t", np.array([0, 1, 1, 8]))
    norm(reference.node("Add", "x", by_row), True, False)
    session = compiled(g, tmp_path, target)
    outputs = [n for node in g.nodes for n in node.output]
    reference.output(total)
    oracle = onnxruntime.InferenceSession(reference.model().SerializeToString(), providers=["CPUExecutionProvider"])
    for size in SIZES:
        feeds = g.feeds(size)
        values, expected = session.run(feeds), oracle.run(None, feeds)
        sums = expected.pop(0)
        expected.insert(3, sums)
        for name, value in zip(outputs, expected):
            assert_same(values[name], value, f"{name} at {size}")


@pytest.mark.parametrize("activation", ["none", "silu"])
def test_causal_convolutions(activation, target, tmp_path):
    g = ContribGraph(17)
    x, w, b = g.input("x", ["n", 4, "m"]), g.input("w", [4, 1, 3]), g.input("b", [4])
    past, longer = g.input("past", ["n", 4, 2]), g.input("longer", ["n", 4, 4])
    g.node("CausalConvWithState", x, w, count=2, activation=activation)
    g.node("CausalConvWithState", x, w, b, past, count=2, activation=activation)
    g.node("CausalConvWithState", x, w, b, longer, count=2, activation=activation, dilation=2)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 33)], **target)


# Attention and positions


@pytest.mark.parametrize("past", [False, True], ids=["", "past"])
def test_quantized_attention(past, target, tmp_path):
    g = ContribGraph(17)
    x, w = g.input("x", ["n", "m", 8], U8, full(U8)), np.random.default_rng(0).integers(-99, 99, (8, 24)).astype(I8)
    b, mask = g.input("b", [24]), g.input("mask", ["n", "m+k" if past else "m"], I32, (0, 2))
    s = np.float32(0.02)
    cache = g.input("past", [2, "n", 2, "k", 4]) if past else ""
    g.node("QAttention", x, w, b, s, s, mask, U8(128), I8(0), cache, num_heads=2, count=2 if past else 1)
    columns = np.linspace(0.01, 0.03, 24).astype(F32)
    g.node("QAttention", x, w, b, s, columns, "", U8(3), np.zeros(24, I8), cache, num_heads=2, unidirectional=1,
           count=2 if past else 1)  # fmt: skip
    check(g, tmp_path, [(2, 3, 2), (1, 1, 1), (3, 7, 5)], **target)


def test_attention_of_one_token(target, tmp_path):
    """As the operators that it specializes; ONNX Runtime's kernel shares buffers."""
    pasts = ("pk", ["n", 2, "k", 4]), ("pv", ["n", 2, "k", 4])
    g, reference = pair(("q", ["n", 1, 8]), ("e", ["n", 1, 8]), ("v", ["n", 1, 8]), ("b", [24]), *pasts, ("all", ["n", 1, 24]),
                        ("ck", ["n", 2, "m", 4]), ("cv", ["n", 2, "m", 4]), ("mask", ["n", "k+1"], I32, (0, 2)))  # fmt: skip
    reference.__class__ = ContribGraph
    g.node("DecoderMaskedMultiHeadAttention", "q", "e", "v", "mask", "", "pk", "pv", "", "", "", "b", num_heads=2, count=3)
    g.node("DecoderMaskedMultiHeadAttention", "all", "", "", "", "", "pk", "pv", num_heads=2, count=3)
    g.node("DecoderMaskedMultiHeadAttention", "q", "ck", "cv", num_heads=2)
    reference.node("MultiHeadAttention", "q", "e", "v", "b", "mask", "", "pk", "pv", num_heads=2, count=3)
    q, e, v = reference.node("Split", "all", np.array([8, 8, 8]), axis=2, count=3, domain="")
    reference.node("MultiHeadAttention", q, e, v, "", "", "", "pk", "pv", num_heads=2, count=3)
    reference.node("MultiHeadAttention", "q", "ck", "cv", num_heads=2)
    compare(g, reference, tmp_path, target)


def t5_buckets(distance, bidirectional, count, farthest):
    base = 0
    if bidirectional:
        count //= 2
        base = (distance > 0) * count
        distance = np.abs(distance)
    else:
        distance = np.maximum(-distance, 0)
    near = count // 2
    far = near + (np.log(np.maximum(distance, near) / near) / np.log(farthest / near) * (count - near)).astype(I64)
    return base + np.where(distance < near, distance, np.minimum(far, count - 1))


@pytest.mark.parametrize("bidirectional", [0, 1])
def test_relative_position_bias(bidirectional, target, tmp_path):
    g = ContribGraph()
    table, x = g.input("table", [16, 3]), g.input("x", ["n", "m"])
    queries, keys = (g.node("Gather", g.node("Shape", x, domain=""), np.array(i), domain="") for i in (0, 1))
    g.node("RelativePositionBias", table, queries, keys, max_distance=20, is_bidirectional=bidirectional)
    session = compiled(g, tmp_path, target)
    for size in [(2, 3), (1, 1), (50, 50), (1, 33)]:
        feeds = g.feeds(size)
        distance = np.arange(size[1])[None] - np.arange(size[0])[:, None]
        by_head = feeds["table"].reshape(3, 16)  # column by column
        expected = by_head[:, t5_buckets(distance, bidirectional, 16, 20)][None]
        (output,) = session.run(feeds).values()
        assert_same(output, expected, f"at {size}")


def test_gated_position_bias(target, tmp_path):
    g = ContribGraph()
    names = [g.input("q", ["n", "m", 12]), g.input("b", [12]), g.input("p", [1, 3, "m", "m"]), g.input("w", [4, 8]), g.input("c", [8]),
             g.input("eco", [1, 3, 1, 1])]  # fmt: skip
    g.node("GatedRelativePositionBias", *names, num_heads=3)
    session = compiled(g, tmp_path, target)
    for size in [(2, 3), (1, 1), (3, 7)]:
        f = g.feeds(size)
        query = (f["q"] + f["b"]).reshape(*size, 3, 4).transpose(0, 2, 1, 3)
        gates = 1 / (1 + np.exp(-(query @ f["w"] + f["c"]).reshape(*query.shape[:3], 2, 4).sum(-1)))
        u, r = gates[..., :1], gates[..., 1:]
        (output,) = session.run(f).values()
        assert_same(output, (u * (r * f["eco"] - 1) + 2) * f["p"], f"at {size}")


@pytest.mark.parametrize("layout", [0, 1])
def test_rotations_by_three_positions(layout, target, tmp_path):
    g = ContribGraph(17)
    cos, sin = g.input("cos", [50, 8]), g.input("sin", [50, 8])
    positions = g.input("positions", [3, "n", "m"], I64, (0, 50))
    options = {"mrope_section": [4, 2, 2], "mrope_layout": layout, "num_heads": 2}
    g.node("MRotaryEmbedding", g.input("x", ["n", "m", 32]), positions, cos, sin, **options)
    g.node("MRotaryEmbedding", g.input("y", ["n", 2, "m", 16]), positions, cos, sin, interleaved=1, **options)
    g.node("MRotaryEmbedding", g.input("z", ["n", "m", 40]), positions, cos, sin, rotary_embedding_dim=16, **options)
    check(g, tmp_path, SIZES, **target)


def test_rotations_of_queries_and_keys(target, tmp_path):
    names = [(name, ["n", 2, "m", 8]) for name in "abcd"]
    g, reference = pair(("e", ["n", "m", 8]), *names)
    g.node("GemmaRotaryEmbedding", "e", *"abcd", count=2)
    cos, sin = (reference.node("Unsqueeze", reference.node(f, "e"), np.array([1])) for f in ("Cos", "Sin"))
    for x, y in ("ab", "cd"):
        reference.node("Add", reference.node("Mul", x, cos), reference.node("Mul", y, sin))
    compare(g, reference, tmp_path, target)


# Quantized tensors


@pytest.mark.parametrize("dtype", [U8, I8], ids=["u8", "i8"])
def test_quantized_tensors(dtype, target, tmp_path):
    g = ContribGraph(17)
    x, y = (g.input(name, ["n", "m"], dtype, full(dtype)) for name in "xy")
    s, z = np.float32(0.03), dtype(5)
    g.node("QLinearWhere", g.input("c", ["n", 1], BOOL), x, s, z, y, np.float32(0.02), dtype(1), np.float32(0.05), dtype(3))
    steps(g, tmp_path, SIZES, target)


def test_quantized_mean(target, tmp_path):
    g, reference = pair(("x", ["n", "m", "k"], U8, full(U8)))
    s, z, t, o = np.float32(0.03), U8(5), np.float32(0.02), U8(7)
    g.node("QLinearReduceMean", "x", s, z, t, o, axes=[-1], keepdims=0)
    g.node("QLinearReduceMean", "x", s, "", t)
    values = reference.node("DequantizeLinear", "x", s, z)
    reference.node("QuantizeLinear", reference.node("ReduceMean", values, np.array([2]), keepdims=0), t, o)
    whole = reference.node("ReduceMean", reference.node("DequantizeLinear", "x", s, U8(0)))
    reference.node("QuantizeLinear", whole, t, U8(0))
    session = compiled(g, tmp_path, target)
    oracle = onnxruntime.InferenceSession(reference.model().SerializeToString(), providers=["CPUExecutionProvider"])
    for size in SIZES:
        feeds = g.feeds(size)
        for value, expected in zip(session.run(feeds).values(), oracle.run(None, feeds)):
            assert np.abs(value.astype(I32) - expected.astype(I32)).max() <= 1


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("rows, columns", [(24, 64), (5, 48), (3, 11)])
def test_matmul_of_codes(kind, rows, columns, target, tmp_path):
    g = ContribGraph(17)
    random = np.random.default_rng(0)
    count = rows * columns
    codes = random.integers(0, 256, (count + 1) // 2, dtype=U8)
    largest = random.uniform(0.5, 2, -(-count // 16)).astype(F32)
    options = {"K": columns, "N": rows, "block_size": 16, "quant_type": kind}
    g.node("MatMulBnb4", g.input("a", ["n", "m", columns]), codes, largest, **options)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33)], **target)


def test_gather_of_blocks(target, tmp_path):
    g = ContribGraph(21)
    random = np.random.default_rng(0)
    data, scales = random.integers(0, 256, (9, 32), dtype=U8), random.uniform(0.01, 0.1, (9, 2)).astype(F32)
    indices = g.input("i", ["n", "m"], I64, (-9, 9))
    g.node("GatherBlockQuantized", data, indices, scales, bits=8, block_size=16, gather_axis=0, quantize_axis=1)
    g.node("GatherBlockQuantized", data, indices, random.uniform(0.01, 0.1, (9, 4)).astype(F32), bits=4, block_size=16)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7), (0, 2)], **target)


def test_gather_of_blocks_out_of_range(target, tmp_path):
    """Gives zeros."""
    g = ContribGraph(21)
    data = np.arange(9 * 16, dtype=U8).reshape(9, 16)
    g.node("GatherBlockQuantized", data, g.input("i", ["n"], I32), np.ones((9, 1), F32), bits=8, block_size=16)
    session = compiled(g, tmp_path, target)
    (output,) = session.run({"i": np.array([9, 2, -10, -1, 1000], I32)}).values()
    expected = np.zeros((5, 16), F32)
    expected[1], expected[3] = data[2] - 128.0, data[8] - 128.0
    np.testing.assert_array_equal(output, expected)


# Norms and gates


def test_norms_and_gates(target, tmp_path):
    g = ContribGraph(17)
    x, y = g.input("x", ["n", "m", 12]), g.input("y", ["n", "m", 12])
    g.node("GatedRMSNorm", x, g.input("v", [4]), y, epsilon=1e-3)
    g.node("GatedRMSNorm", x, g.input("w", [12]), y, activation="sigmoid")
    g.node("BranchwiseRMSNorm", x, epsilon=1e-3, num_branches=3)
    for shape in ([12], [3, 4], [4]):
        g.node("BranchwiseRMSNorm", x, g.input(f"s{len(shape)}{shape[0]}", shape), num_branches=3)
    g.node("BranchwiseRMSNorm", g.input("z", ["n", 3, 4]), "s23")
    g.node("ScaledSiLU", x, alpha=0.3)
    g.node("GatedAdd", x, y, g.input("gate", ["n", "m", 1]))
    check(g, tmp_path, SIZES, **target)


# Tensors


def test_shapes_and_products(target, tmp_path):
    g = ContribGraph(17)
    x, y = g.input("x", ["n", "m"]), g.input("y", ["k", "m"])
    g.node("ExpandDims", x, I32(1))
    g.node("ExpandDims", x, I32(-1))
    g.node("CDist", x, y, metric="sqeuclidean")
    g.node("CDist", x, y, metric="euclidean")
    g.node("Trilu", x, np.array(1), upper=0)
    g.node("Pad", x, np.array([1, 0, 0, 2]), np.array([0.5], F32))
    g.node("Pad", x, np.array([[1, 0, 0, 2]]), mode="edge")
    g.node("GatherND", x, g.input("i", ["k", 1], I64, (0, 1)))
    g.node("UnfoldTensor", g.input("u", ["n", "m+3", "k"]), dim=1, size=3, step=2)
    g.node("MatMulInteger16", g.input("a", ["n", "m"], I16), g.input("b", ["m", 4], I16))
    g.node("Unique", g.input("w", ["m"], F32, lambda random, shape: random.integers(0, 4, shape)), count=3)
    check(g, tmp_path, SIZES, **target)


def test_range(target, tmp_path):
    g = ContribGraph(17)
    size = g.node("Gather", g.node("Shape", g.input("x", ["n"]), domain=""), np.array(0), domain="")
    g.node("Range", np.array(0), size)
    g.node("Range", np.array(1), size, np.array(2))
    check(g, tmp_path, [(7,), (1,), (0,)], **target)


def test_inverse(target, tmp_path):
    g = ContribGraph(17)
    regular = lambda random, shape: random.normal(0, 1, shape) + 3 * np.eye(shape[-1])[::-1]  # noqa: E731
    g.node("Inverse", g.input("x", ["n", "m", 5, 5], F32, regular))
    g.node("Inverse", g.input("y", [1, 1], F32, regular))
    g.node("Inverse", g.input("z", ["n", "m", "m"], F32, regular))
    check(g, tmp_path, SIZES, allowed=1e-3, **target)


@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
def test_crops(mode, target, tmp_path):
    g = sized(ContribGraph(17))
    x, rois = g.input("x", ["n", 3, "m+2", "k+3"]), g.input("rois", ["m", 4], F32, (-0.2, 1.2))
    batch = g.input("batch", ["m"], I32, (0, 1))
    g.node("CropAndResize", x, rois, batch, np.array([4, 5], I32), mode=mode, extrapolation_value=0.5)
    g.node("CropAndResize", x, rois, batch, np.array([1, 2], I32), mode=mode)
    check(g, tmp_path, SIZES, **target)


def test_spectra(target, tmp_path):
    g, x = sized(ContribGraph(17)), "x"
    g.input(x, ["n", "2*m"])
    g.node("Irfft", g.node("Rfft", x))
    g.node("ComplexMulConj", g.node("Rfft", x), g.node("Rfft", x))
    session = compiled(g, tmp_path, target)
    for size in SIZES:
        feeds = g.feeds(size)
        back, power = session.run(feeds).values()
        assert_same(back, feeds[x], f"at {size}")
        expected = np.abs(np.fft.rfft(feeds[x])) ** 2
        assert_same(power, np.stack([expected, np.zeros_like(expected)], -1).astype(F32), f"at {size}")


def test_what_others_are_made_of(target, tmp_path):
    g, reference = pair(("x", ["n", "m", 8]), ("b", [8]), ("r", ["n", "m", 8]), ("c", ["m", 4, 2]), ("d", ["m", 4, 2]),
                        ("i", ["n", "m"], I64, (0, 2)), ("k", [8, 6]), ("q", ["n", 8], U8), ("p", ["n", 8], U8))  # fmt: skip
    g.node("BiasDropout", "x", "b", "r")
    g.node("FusedMatMulActivation", "x", "k", alpha=0.5, activation="Relu")
    g.node("TorchEmbedding", "b", "i")
    g.node("IsAllFinite", "x", "r")
    g.node("ReduceSumInteger", "q", axes=[1], keepdims=1)
    g.node("MulInteger", "q", U8(3), "p", U8(1))
    reference.node("Add", reference.node("Add", "x", "b"), "r")
    product = reference.node("Mul", reference.node("MatMul", "x", "k"), np.float32(0.5))
    reference.node("Relu", product)
    reference.node("Gather", "b", "i")
    reference.node("Not", reference.node("ReduceMax", reference.node("IsInf", "x"), keepdims=0))
    wide = [reference.node("Cast", name, to=7) for name in "qp"]
    sums = reference.node("ReduceSum", wide[0], np.array([1]))
    reference.node("Cast", sums, to=12)
    factors = [reference.node("Sub", a, np.array(z)) for a, z in zip(wide, (3, 1))]
    reference.node("Cast", reference.node("Mul", *factors), to=6)
    compare(g, reference, tmp_path, target)


def test_not_all_finite(target, tmp_path):
    g = ContribGraph()
    x = g.input("x", ["n"])
    g.node("IsAllFinite", x), g.node("IsAllFinite", x, isinf_only=1), g.node("IsAllFinite", x, isnan_only=1)
    session = compiled(g, tmp_path, target)
    for values, expected in (([1, 2], (1, 1, 1)), ([1, np.inf], (0, 0, 1)), ([np.nan], (0, 1, 0)), ([], (1, 1, 1))):
        assert tuple(session.run({"x": np.array(values, F32)}).values()) == tuple(map(bool, expected))


@pytest.mark.parametrize("op, attributes, inputs, reason", [
    ("NhwcConv", {}, [["n", 4], [2, 4]], "rank 3 or more"),
    ("FusedConv", {"activation": "Elu"}, [["n", 4, 4, 4], [2, 4, 1, 1]], "activation 'Elu' is not supported"),
    ("GroupNorm", {"groups": 3, "activation": 0}, [["n", 4, 4, 8], [8], [8]], "groups that divide the channels"),
    ("CDist", {"metric": "cosine"}, [["n", 4], ["m", 4]], "only euclidean"),
    ("Inverse", {}, [["n", 3, 4]], "square matrices, got 3, 4"),
    ("MRotaryEmbedding", {"mrope_section": [1, 1, 1]}, [["n", 2, 8], [3, "n", 2], [9, 4], [9, 4]], "three sections"),
    ("Rfft", {"signal_ndim": 2}, [["n", 4, 4]], "signals of 2 dimensions are not supported"),
])  # fmt: skip
def test_refused(op, attributes, inputs, reason, tmp_path):
    g = ContribGraph()
    kinds = [I64 if op == "MRotaryEmbedding" and i == 1 else F32 for i in range(len(inputs))]
    g.node(op, *(g.input(f"x{i}", shape, kinds[i]) for i, shape in enumerate(inputs)), **attributes)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
