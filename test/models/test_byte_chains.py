# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Numbers that stay integers between products: what is written and read as bytes equals ONNX Runtime within one step of its rounding."""

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe
from support import DEVICE

# Scale and zero point of what each product reads; the last is that of the result.
STEPS = [(0.02, 3), (0.05, -7), (0.04, 0), (0.06, 11)]


class Chain:
    """Layers of x, QuantizeLinear, DequantizeLinear, MatMul with a weight of 8 bits, and what follows."""

    def __init__(self, unsigned):
        self.unsigned = unsigned
        self.nodes, self.constants = [], []
        self.random = np.random.default_rng(5)

    def constant(self, name, values):
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, op, inputs, output, **attributes):
        self.nodes.append(helper.make_node(op, inputs, [output], output, **attributes))
        return output

    def rounded(self, value, step, back=True):
        scale, zero = STEPS[step]
        zero = np.uint8(128 + zero) if self.unsigned else np.int8(zero)
        parameters = [self.constant(f"{value}_scale", np.float32(scale)), self.constant(f"{value}_zero", zero)]
        value = self.node("QuantizeLinear", [value, *parameters], f"{value}_q")
        return self.node("DequantizeLinear", [value, *parameters], f"{value}_d") if back else value

    def product(self, value, k, n, name):
        codes = self.constant(f"{name}_codes", self.random.integers(-127, 128, (k, n), np.int8))
        scales = self.constant(f"{name}_scales", self.random.uniform(0.5, 1.5, n).astype(np.float32) / 127 / np.sqrt(k).astype(np.float32))
        zeros = self.constant(f"{name}_zeros", np.zeros(n, np.int8))
        weight = self.node("DequantizeLinear", [codes, scales, zeros], f"{name}_weight", axis=1)
        value = self.node("MatMul", [value, weight], f"{name}_product")
        return self.node("Add", [value, self.constant(f"{name}_bias", self.random.normal(0, 0.1, n).astype(np.float32))], name)

    def save(self, path, outputs):
        types = {"y_q": TensorProto.UINT8 if self.unsigned else TensorProto.INT8}
        graph = helper.make_graph(
            self.nodes,
            "chain",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", "sequence", self.width])],
            [helper.make_tensor_value_info(name, types.get(name, TensorProto.FLOAT), None) for name in outputs],
            self.constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(model))
        onnx.save(model, path)


def chain(unsigned, width, inner, path):
    """Two branches from one rounded input, a gelu, a reshape before the second rounding, and a result of bytes."""
    model = Chain(unsigned)
    model.width = width
    x = model.rounded("x", 0)
    left = model.node("Gelu", [model.product(x, width, inner, "left")], "gelu")
    right = model.node("Relu", [model.product(x, width, inner, "right")], "relu")
    shape = model.constant("shape", np.array([-1, inner], np.int64))
    left, right = (model.node("Reshape", [value, shape], f"{value}_rows") for value in (left, right))
    left = model.product(model.rounded(left, 1), inner, width, "down")
    right = model.product(model.rounded(right, 2), inner, width, "other")
    model.node("Add", [left, right], "y")
    model.rounded("y", 3, back=False)
    model.save(path, ["y_q", "y"])


def oracle_of(path):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("unsigned", [False, True])
@pytest.mark.parametrize("width, inner", [(64, 128), (33, 70)])
@pytest.mark.parametrize("device", ["cpu", DEVICE])
def test_chain(unsigned, width, inner, device, lathe_tool, tmp_path):
    chain(unsigned, width, inner, tmp_path / "model.onnx")
    target = "cpu" if device == "cpu" else "cuda:sm_80"
    module = lathe.load(lathe.compile(tmp_path / "model.onnx", tmp_path / "model.lathe", target=target), device=device)
    session, oracle = module.session(threads=2), oracle_of(tmp_path / "model.onnx")
    random = np.random.default_rng(1)
    for batch, length in [(1, 1), (2, 7), (3, 33), (1, 128), (0, 4)]:
        x = random.normal(0, 1, (batch, length, width)).astype(np.float32)
        outputs = session.run({"x": x})
        expected = dict(zip(("y_q", "y"), oracle.run(None, {"x": x})))
        assert outputs["y_q"].dtype == expected["y_q"].dtype
        steps = np.abs(outputs["y_q"].astype(int) - expected["y_q"].astype(int))
        assert steps.max(initial=0) <= 1
        # A number on the border between two steps is rounded either way: of few.
        assert (steps > 0).mean() < 0.02 if steps.size else True
        assert np.abs(outputs["y"] - expected["y"]).max(initial=0) < 2 * STEPS[1][0] * 0.2


@pytest.mark.parametrize("target", ["cpu", "cuda:sm_80"])
def test_products_read_and_write_bytes(target, lathe_tool, tmp_path):
    """Between the products of a branch there is nothing of f32: the kernels are one rounding of x, four products and the sum."""
    chain(True, 64, 128, tmp_path / "model.onnx")
    lathe_tool("compile", tmp_path / "model.onnx", "-o", tmp_path / "model.lathe", "--target", target, "--dump-ir", tmp_path / "ir")
    text = next((tmp_path / "ir").glob("*-select.mlir")).read_text()
    products = [line for line in text.splitlines() if "kernel.matmul" in line]
    assert len(products) == 4
    assert sum("out(" in line and "xi8>)" in line.split("out(")[1].split("{")[0] for line in products) == 2
    assert all("xi8>)" in line.split("lhs(")[1].split(" ")[2] for line in products)
    assert sum("lhs_again" in line for line in products) == 1
