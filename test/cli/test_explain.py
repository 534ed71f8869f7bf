# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""`lathe explain --fusions`: what fused, and of what nearly did the node, the condition and the change."""
import json

import numpy as np
import pytest
from cli_support import INVALID_MODEL, USAGE, check_failure, linear, save
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, INNER = 12, 8, 16


class Bert:
    """The blocks of an encoder without attention, spelled out; `broken` is what is wrong in one of the layers."""

    def __init__(self, layer=None, broken=None):
        self.nodes, self.constants, self.layer, self.broken = [], [], layer, broken
        self.outputs = []
        value = "x"
        for number in range(LAYERS):
            self.prefix = f"/encoder/layer.{number}"
            self.wrong = broken if number == layer else None
            inner = self.gelu(self.linear(value, WIDTH, INNER, "intermediate"))
            value = self.norm(self.add("Add", "residual", value, self.linear(inner, INNER, WIDTH, "output")), value)
        self.result = value

    def constant(self, values):
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values, np.float32), name))
        return name

    def add(self, op, name, *inputs, **attributes):
        name = f"{self.prefix}/{name}"
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        self.nodes.append(helper.make_node(op, names, [name + ":0"], name=name, **attributes))
        return name + ":0"

    def linear(self, x, rows, columns, name):
        weight = np.linspace(-1, 1, rows * columns).reshape(rows, columns)
        return self.add("Add", name + "/Bias", self.add("MatMul", name + "/MatMul", x, weight), np.ones(columns))

    def gelu(self, x):
        root = 1.5 if self.wrong == "gelu constant" else 2**0.5
        erf = self.add("Erf", "gelu/Erf", self.add("Div", "gelu/Div", x, root))
        if self.wrong == "gelu used elsewhere":
            self.outputs.append(self.add("Neg", "gelu/Other", erf))
        product = self.add("Mul", "gelu/Mul", x, self.add("Add", "gelu/Add", erf, 1.0))
        return self.add("Mul", "gelu/Half", product, 0.25 if self.wrong == "gelu factor" else 0.5)

    def mean(self, name, x):
        axes = self.constant(0)
        wrong = self.wrong == "axis"
        self.constants[-1] = numpy_helper.from_array(np.array([1 if wrong else -1], np.int64), axes)
        return self.add("ReduceMean", name, x, axes, keepdims=1)

    def norm(self, x, other):
        center = centered = self.add("Sub", "norm/Sub", x, self.mean("norm/Mean", x))
        if self.wrong == "different mean":
            centered = self.add("Sub", "norm/OtherSub", x, self.mean("norm/OtherMean", other))
        variance = self.mean("norm/Variance", self.add("Mul", "norm/Square", centered, centered))
        epsilon = 1e-5
        if self.wrong == "epsilon":
            axes = self.constant(0)
            self.constants[-1] = numpy_helper.from_array(np.array([-1], np.int64), axes)
            epsilon = self.add("ReduceMax", "norm/Largest", self.add("Abs", "norm/Abs", x), axes, keepdims=1)
        if self.wrong == "epsilon after the root":
            root = self.add("Add", "norm/Epsilon", self.add("Sqrt", "norm/Sqrt", variance), epsilon)
        else:
            root = self.add("Sqrt", "norm/Sqrt", self.add("Add", "norm/Epsilon", variance, epsilon))
        if self.wrong == "center used elsewhere":
            self.outputs.append(self.add("Neg", "norm/Other", center))
        normal = self.add("Div", "norm/Div", center, root)
        scaled = self.add("Mul", "norm/Scale", normal, np.linspace(0.5, 1.5, WIDTH))
        return self.add("Add", "norm/Shift", scaled, np.linspace(-1, 1, WIDTH))

    def save(self, path):
        outputs = [(name, [None, None, None]) for name in [self.result, *self.outputs]]
        return save(path, self.nodes, [("x", ["batch", "sequence", WIDTH])], outputs, self.constants)


def explain(lathe_tool, model):
    return json.loads(lathe_tool.ok("explain", model, "--fusions", "--json"))


def test_whole(lathe_tool, tmp_path):
    model = Bert().save(tmp_path / "m.onnx")
    found = explain(lathe_tool, model)
    assert found["counts"] == {
        "layer_norm": {"recognised": LAYERS, "stated": 0},
        "gelu": {"recognised": LAYERS, "stated": 0},
    }
    assert found["near_misses"] == []
    norms = [fusion["nodes"] for fusion in found["fusions"] if fusion["kind"] == "layer_norm"]
    assert norms[7] == [f"/encoder/layer.7/norm/{name}" for name in
                        ("Mean", "Sub", "Square", "Variance", "Epsilon", "Sqrt", "Div", "Scale", "Shift")]
    text = lathe_tool.ok("explain", model, "--fusions")
    assert "gelu: 12" in text and "layer_norm: 12" in text and "no near misses" in text
    assert "'/encoder/layer.7/norm/Mean' … '/encoder/layer.7/norm/Shift' (9 nodes)" in text


BREAKAGES = {
    # what is broken: the kind, the nodes that are told (by which it is noticed, whose condition fails), and words
    "gelu constant": ("gelu", "gelu/Erf", "gelu/Erf", "expects erf(0.7071068 x), got erf(0.6666667 x)", "constants"),
    "gelu factor": ("gelu", "gelu/Erf", "gelu/Half", "expects 0.5 x + 0.5 x erf, got 0.25 x + 0.25 x erf", "constants"),
    "gelu used elsewhere": ("gelu", "gelu/Erf", "gelu/Other", "used elsewhere", "other user"),
    "different mean": ("layer_norm", "norm/Sqrt", "norm/OtherSub", "different mean", "mean of the value itself"),
    "epsilon": ("layer_norm", "norm/Sqrt", "norm/Epsilon", "epsilon is not a constant", "constant"),
    "epsilon after the root": ("layer_norm", "norm/Sqrt", "norm/Epsilon", "added to the root", "before the root"),
    "axis": ("layer_norm", "norm/Sqrt", "norm/Sqrt", "along axes 1 of 3", "transpose"),
    "center used elsewhere": ("layer_norm", "norm/Sqrt", "norm/Other", "used elsewhere", "other user"),
}


@pytest.mark.parametrize("broken", BREAKAGES)
def test_one_layer_is_broken(broken, lathe_tool, tmp_path):
    kind, node, at, failed, advice = BREAKAGES[broken]
    layer = 4 + len(broken) % 7
    model = Bert(layer, broken).save(tmp_path / "m.onnx")
    found = explain(lathe_tool, model)
    assert len(found["near_misses"]) == 1, found["near_misses"]
    miss = found["near_misses"][0]
    assert (miss["kind"], miss["node"], miss["at"]) == (kind, f"/encoder/layer.{layer}/{node}", f"/encoder/layer.{layer}/{at}")
    assert failed in miss["failed"]
    assert advice in miss["advice"]
    other = {"gelu": "layer_norm", "layer_norm": "gelu"}[kind]
    assert found["counts"][kind]["recognised"] == LAYERS - 1
    assert found["counts"][other]["recognised"] == LAYERS
    text = lathe_tool.ok("explain", model, "--fusions")
    assert f"near misses: 1\n  {kind} at node '/encoder/layer.{layer}/{node}'\n" in text
    assert miss["failed"] in text and f"change: {miss['advice']}" in text


def test_nothing_near(lathe_tool, tmp_path):
    model = linear(tmp_path / "m.onnx")
    assert explain(lathe_tool, model) == {"counts": {}, "fusions": [], "near_misses": []}
    assert lathe_tool.ok("explain", model, "--fusions") == "nothing fused\nno near misses\n"


def test_operations_of_the_model(lathe_tool, tmp_path):
    node = helper.make_node("Gelu", ["x"], ["y"], name="the_gelu")
    model = save(tmp_path / "m.onnx", [node], [("x", ["n"])], [("y", ["n"])])
    found = explain(lathe_tool, model)
    assert found["fusions"] == [{"kind": "gelu", "stated": True, "nodes": ["the_gelu"]}]


def test_failures(lathe_tool, tmp_path):
    check_failure(lathe_tool("explain", tmp_path / "nowhere.onnx", "--fusions"), USAGE, "nowhere.onnx")
    check_failure(lathe_tool("explain", linear(tmp_path / "m.onnx")), USAGE, "--fusions")
    (tmp_path / "text.onnx").write_text("this is not a model\n" * 100)
    check_failure(lathe_tool("explain", tmp_path / "text.onnx", "--fusions"), INVALID_MODEL, "text.onnx")
    node = helper.make_node("NoSuchOperator", ["x"], ["y"], name="strange")
    model = save(tmp_path / "unknown.onnx", [node], [("x", ["n"])], [("y", ["n"])])
    check_failure(lathe_tool("explain", model, "--fusions"), INVALID_MODEL, "NoSuchOperator", "strange")
