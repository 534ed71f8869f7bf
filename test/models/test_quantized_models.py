# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models as quantizers leave them equal ONNX Runtime: its own, NNCF 3.4, and PyTorch's fake quantization when it is exported."""

import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_dynamic, quantize_static
from support import MODELS, make_inputs

import lathe

SHAPES = [(1, 7), (2, 33), (3, 1)]
# The error allowed, as a share of the largest value. Where activations are quantized, one that lies on the border between
# two steps falls to either side, and what follows differs by a step.
ROUNDED = 3e-2


class Samples(CalibrationDataReader):
    def __init__(self, name):
        self.samples = iter([make_inputs(name, batch, length) for batch, length in ((1, 16), (2, 9))])

    def get_next(self):
        return next(self.samples, None)


def dynamic(source, target, name):
    quantize_dynamic(source, target, weight_type=QuantType.QInt8, per_channel=False)


def dynamic_per_channel(source, target, name):
    quantize_dynamic(source, target, weight_type=QuantType.QUInt8, per_channel=True)


def qdq(source, target, name):
    quantize_static(source, target, Samples(name), quant_format=QuantFormat.QDQ, weight_type=QuantType.QInt8)


def qdq_per_channel(source, target, name):
    quantize_static(
        source, target, Samples(name), QuantFormat.QDQ, per_channel=True, weight_type=QuantType.QInt8,
        activation_type=QuantType.QInt8,
    )  # fmt: skip


def qoperator(source, target, name):
    quantize_static(source, target, Samples(name), quant_format=QuantFormat.QOperator, weight_type=QuantType.QInt8)


def rows_of_blocks(weight, block, bits):
    """Rounds a [K, N] matrix to nearest as MatMulNBits has it."""
    columns = weight.T.reshape(weight.shape[1], -1, block)
    low, high = np.minimum(columns.min(-1, keepdims=True), 0), np.maximum(columns.max(-1, keepdims=True), 0)
    scale = np.maximum((high - low) / (2**bits - 1), 1e-9).astype(np.float32)
    zero = np.round(-low / scale).astype(np.uint8)
    q = np.clip(np.round(columns / scale) + zero, 0, 2**bits - 1).astype(np.uint8)

    def pack(values):
        values = values.reshape(values.shape[0], -1)
        values = np.pad(values, ((0, 0), (0, -values.shape[1] % (8 // bits))))
        parts = values.reshape(values.shape[0], -1, 8 // bits)
        return sum(parts[..., i] << np.uint8(i * bits) for i in range(8 // bits)).astype(np.uint8)

    return pack(q).reshape(weight.shape[1], -1, block * bits // 8), scale[..., 0], pack(zero)


def four_bits(source, target, name, block=32, bits=4):
    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    changed = 0
    for node in list(model.graph.node):
        weight = weights.get(node.input[1]) if node.op_type == "MatMul" else None
        if weight is None or len(weight.dims) != 2 or weight.dims[0] % block:
            continue
        names = [f"{weight.name}_{part}" for part in ("bytes", "scales", "zeros")]
        if not any(tensor.name == names[0] for tensor in model.graph.initializer):
            parts = rows_of_blocks(numpy_helper.to_array(weight), block, bits)
            model.graph.initializer.extend(numpy_helper.from_array(p, n) for p, n in zip(parts, names))
        quantized = helper.make_node(
            "MatMulNBits", [node.input[0], *names], node.output, node.name, domain="com.microsoft",
            K=weight.dims[0], N=weight.dims[1], bits=bits, block_size=block,
        )  # fmt: skip
        node.CopyFrom(quantized)
        changed += 1
    assert changed
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, target)


@pytest.mark.parametrize(
    "name, quantize",
    [("bert", how) for how in (dynamic, qdq_per_channel, qoperator, four_bits)]
    + [("gpt2", how) for how in (dynamic_per_channel, qdq)]
    + [("llama", four_bits)],
)
def test_model(name, quantize, onnx_path, tmp_path, caplog):
    caplog.set_level(logging.ERROR)
    path = tmp_path / "model.onnx"
    quantize(onnx_path(name), path, name)
    session = lathe.load(lathe.compile(path, tmp_path / "model.lathe", target="cpu:avx2")).session(threads=2)
    oracle = oracle_of(path)
    for batch, length in SHAPES:
        inputs = make_inputs(name, batch, length, past=4 if MODELS[name].cache else 0)
        outputs = session.run(inputs)
        for info, expected in zip(oracle.get_outputs(), oracle.run(None, inputs)):
            error = np.abs(outputs[info.name] - expected).max() / np.abs(expected).max()
            assert error <= (2e-4 if quantize is four_bits else ROUNDED), f"{info.name}: {error:.3g}"


def oracle_of(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def vectors(model):
    """NNCF gives the scales and zero points of a convolution axes of extent 1, which ONNX Runtime refuses to run."""
    initializers = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "DequantizeLinear" and not any(a.name == "block_size" and a.i for a in node.attribute):
            for name in node.input[1:]:
                tensor = initializers.get(name)
                if tensor is not None and len(tensor.dims) > 1:
                    tensor.dims[:] = [int(np.prod(tensor.dims))]
    return model


OTHERS = {
    "bert_nncf": lambda random, batch, length: make_inputs("bert", batch, length),
    "vit_nncf": lambda random, batch, length: {"pixel_values": random.standard_normal((batch, 3, 32, 32), np.float32)},
    "qat": lambda random, batch, length: {"x": random.standard_normal((batch, length, 32), np.float32)},
}


@pytest.mark.parametrize("name", OTHERS)
def test_other_quantizers(name, onnx_path, tmp_path):
    """Activations and weights in 8 bits, weights alone in 4 bits by group and in 8 by channel, trained 8 bits."""
    model = onnx.load(onnx_path(name))
    session = lathe.load(lathe.compile(onnx_path(name), tmp_path / "model.lathe", target="cpu:avx2")).session(threads=2)
    onnx.save(vectors(model), tmp_path / "model.onnx")
    oracle = oracle_of(tmp_path / "model.onnx")
    random = np.random.default_rng(0)
    for batch, length in SHAPES:
        inputs = OTHERS[name](random, batch, length)
        outputs = session.run(inputs)
        for info, expected in zip(oracle.get_outputs(), oracle.run(None, inputs)):
            error = np.abs(outputs[info.name] - expected).max() / np.abs(expected).max()
            assert error <= ROUNDED, f"{info.name}: {error:.3g}"
