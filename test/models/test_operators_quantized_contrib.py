# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What ONNX Runtime's quantizers write equals ONNX Runtime."""

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import F32, I8, I32, I64, U8, ContribGraph, check

import lathe


class QuantizedGraph(ContribGraph):
    """Its operators are those of com.microsoft where ONNX has none of the name."""

    def node(self, op, *inputs, **attributes):
        return super().node(op, *inputs, **({"domain": ""} if onnx.defs.has(op) else {}), **attributes)


def blocks(bits, rows, columns, block, packed_zero=True, seed=0):
    """Bytes, scales and zero points of a random matrix."""
    random = np.random.default_rng(seed)
    count = -(-columns // block)
    bytes_ = random.integers(0, 256, (rows, count, block * bits // 8), dtype=U8)
    scales = random.uniform(0.01, 0.1, (rows, count)).astype(F32)
    if packed_zero:
        zero = random.integers(0, 256, (rows, -(-count * bits // 8)), dtype=U8)
    else:
        zero = random.uniform(0, 1 << bits, (rows, count)).astype(F32)
    return bytes_, scales, zero


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("columns, block", [(64, 32), (80, 16), (48, 32)])
def test_matmul_n_bits(target, bits, columns, block, tmp_path):
    g = QuantizedGraph()
    a = g.input("a", ["n", "m", columns])
    attributes = {"K": columns, "N": 24, "bits": bits, "block_size": block}
    bytes_, scales, zero = blocks(bits, 24, columns, block)
    g.node("MatMulNBits", a, bytes_, scales, **attributes)
    g.node("MatMulNBits", a, bytes_, scales, zero, **attributes)
    if bits == 4:
        g.node("MatMulNBits", a, bytes_, scales, zero, "", np.arange(24, dtype=F32), **attributes)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 5), (0, 3)], **target)


def test_matmul_n_bits_float_zero_points(target, tmp_path):
    g = QuantizedGraph()
    bytes_, scales, zero = blocks(4, 24, 64, 32, packed_zero=False)
    g.node("MatMulNBits", g.input("a", ["n", 64]), bytes_, scales, zero, K=64, N=24, bits=4, block_size=32)
    check(g, tmp_path, [(2,), (1,), (33,)], **target)


def test_matmul_n_bits_groups(target, tmp_path):
    """Without zero points: beside g_idx, ONNX Runtime reads other ones than it says."""
    g = QuantizedGraph()
    bytes_, scales, _ = blocks(4, 24, 64, 32)
    groups = np.random.default_rng(1).integers(0, 2, 64).astype(I32)
    g.node("MatMulNBits", g.input("a", ["n", 64]), bytes_, scales, "", groups, K=64, N=24, bits=4, block_size=32)
    check(g, tmp_path, [(2,), (1,), (33,)], **target)


def full(dtype):
    info = np.iinfo(dtype)
    return lambda random, shape: random.integers(info.min, info.max, shape, endpoint=True)


@pytest.mark.parametrize("b", [U8, I8], ids=["u8", "i8"])
def test_matmuls(target, b, tmp_path):
    g = QuantizedGraph()
    x, y = g.input("x", ["n", "m", 8]), g.input("y", [8, 5], b, full(b))
    bias = g.input("bias", [5])
    g.node("DynamicQuantizeMatMul", x, y, np.float32(0.02))
    g.node("DynamicQuantizeMatMul", x, y, g.input("s", [5], F32, (0.01, 0.1)), g.input("z", [5], b, [0] * 5), bias)
    q = g.input("q", ["n", "m", 8], U8, full(U8))
    g.node("MatMulIntegerToFloat", q, y, np.float32(0.1), np.float32(0.02))
    g.node("MatMulIntegerToFloat", q, y, np.float32(0.1), np.float32(0.02), U8(3), b(4), bias)
    check(g, tmp_path, [(2, 3), (1, 1), (7, 33)], **target)


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm(target, transposed, tmp_path):
    g = QuantizedGraph()
    a = g.input("a", ["n", 8], U8, full(U8))
    b = g.input("b", [5, 8] if transposed else [8, 5], I8, full(I8))
    c = g.input("c", [5], I32, (-99, 99))
    one = np.float32(0.02)
    g.node("QGemm", a, one, U8(4), b, np.float32(0.01), I8(0), c, transB=transposed)
    g.node("QGemm", a, one, U8(4), b, np.float32(0.01), I8(1), c, np.float32(0.7), U8(9), transB=transposed)
    g.node("QGemm", a, one, U8(4), b, np.float32(0.01), I8(1), "", np.float32(0.7), U8(9), transB=transposed, alpha=0.5)
    check(g, tmp_path, [(2,), (1,), (33,)], **target)


@pytest.mark.parametrize("dtype", [U8, I8], ids=["u8", "i8"])
def test_elementwise(target, dtype, tmp_path):
    """Within one step of ONNX Runtime, which rounds in tables and in fixed point."""
    g = QuantizedGraph()
    x, y = (g.input(name, ["n", "m"], dtype, full(dtype)) for name in "xy")
    s, z = np.float32(0.03), dtype(5)
    for name in ("QLinearAdd", "QLinearMul"):
        g.node(name, x, s, z, y, np.float32(0.02), dtype(1), np.float32(0.05), dtype(3))
    g.node("QLinearSigmoid", x, s, z, np.float32(1 / 256), dtype(0))
    g.node("QLinearLeakyRelu", x, s, z, s, z, alpha=0.2)
    g.node("QLinearSoftmax", x, s, z, np.float32(1 / 120), dtype(0), axis=-1, opset=13)
    g.node("QLinearConcat", s, z, x, s, dtype(1), y, np.float32(0.02), z, axis=1)
    steps(g, tmp_path, [(2, 3), (1, 1), (7, 33)], target)


def steps(g, folder, sizes, target):
    onnx.save(g.model(), folder / "graph.onnx")
    session = lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session(threads=1)
    oracle = onnxruntime.InferenceSession(folder / "graph.onnx", providers=["CPUExecutionProvider"])
    for size in sizes:
        feeds = g.feeds(size)
        outputs = session.run(feeds)
        for info, expected in zip(oracle.get_outputs(), oracle.run(None, feeds)):
            assert outputs[info.name].dtype == expected.dtype
            difference = np.abs(outputs[info.name].astype(I32) - expected.astype(I32))
            assert difference.max(initial=0) <= 1, info.name
            assert difference.size < 10 or np.mean(difference) < 0.1, info.name


def test_global_average_pool(target, tmp_path):
    g = QuantizedGraph()
    x = g.input("x", ["n", 4, "m", "k"], U8, full(U8))
    g.node("QLinearGlobalAveragePool", x, np.float32(0.03), U8(5), np.float32(0.02), U8(3))
    steps(g, tmp_path, [(2, 3, 5), (1, 1, 1), (3, 7, 2)], target)


def test_embedding(target, tmp_path):
    g = QuantizedGraph()
    random = np.random.default_rng(0)
    table = lambda *shape: random.integers(0, 256, shape, dtype=U8)  # noqa: E731
    ids, segments = g.input("ids", ["n", "m"], I32, (0, 30)), g.input("segments", ["n", "m"], I32, (0, 2))
    scales = [np.float32(s) for s in (0.02, 0.01, 0.03, 0.01, 0.02)]
    zeros = [U8(z) for z in (120, 125, 130, 3, 128)]
    inputs = [ids, segments, table(30, 8), table(16, 8), table(2, 8), table(8), table(8), ""]
    g.node("QEmbedLayerNormalization", *inputs, *scales, *zeros, count=2)
    model = g.model()
    del model.graph.output[1]
    g.model = lambda: model
    check(g, tmp_path, [(2, 3), (1, 1), (3, 16)], allowed=2e-3, **target)


@pytest.mark.parametrize("bits", [4, 8])
def test_gather_of_blocks(target, bits, tmp_path):
    g = QuantizedGraph(21)
    random = np.random.default_rng(0)
    table = random.integers(0, 256, (30, 32 * bits // 8), dtype=U8)
    scales = random.uniform(0.01, 0.1, (30, 2)).astype(F32)
    ids = g.input("ids", ["n", "m"], I64, (0, 30))
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": 16, "bits": bits}
    g.node("GatherBlockQuantized", table, ids, scales, **attributes)
    zeros = random.integers(0, 256, (30, 2 * bits // 8), dtype=U8)
    g.node("GatherBlockQuantized", table, ids, scales, zeros, **attributes)
    check(g, tmp_path, [(2, 3), (1, 1), (5, 7), (0, 2)], **target)


@pytest.mark.parametrize(
    "message, bits, attributes",
    [
        ("values of 3 bits are not supported", 4, {"bits": 3}),
        ("expects 768 bytes on the right", 4, {"K": 33}),
        ("expects N, K and block_size between 1", 4, {"N": 0}),
    ],
)
def test_refusals(message, bits, attributes, tmp_path):
    g = QuantizedGraph()
    bytes_, scales, _ = blocks(bits, 24, 32, 32)
    given = {"K": 32, "N": 24, "bits": bits, "block_size": 32} | attributes
    g.node("MatMulNBits", g.input("a", ["n", 32]), bytes_, scales, **given)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=message):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
