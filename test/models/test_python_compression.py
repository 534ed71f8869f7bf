# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compression by the Python package."""
import json

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import lathe


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """y = relu(x . first) . second, of [batch, 64]"""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.normal(size=(64, 64)).astype(np.float32), name) for name in ("first", "second")]
    nodes = [
        helper.make_node("MatMul", ["x", "first"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("MatMul", ["b", "second"], ["y"], name="c"),
    ]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64])] for name in "xy"]
    path = tmp_path_factory.mktemp("python") / "model.onnx"
    path.write_bytes(
        helper.make_model(
            helper.make_graph(nodes, "small", *values, weights), opset_imports=[helper.make_opsetid("", 20)], ir_version=10
        ).SerializeToString()
    )
    return path


def samples(count=3):
    random = np.random.default_rng(1)
    return [{"x": random.normal(size=(5, 64)).astype(np.float32)} for _ in range(count)]


def formats(report):
    return {layer["weight"]: layer["format"] for layer in report["compression"]["layers"]}


def test_quantize(model, tmp_path):
    output = tmp_path / "small.lathe"
    report = lathe.quantize(model, output, bits=4, group_size=32, exclude=["second"])
    assert formats(report) == {"first": "int4 g32 f16 scales"}
    assert report["compression"]["bytes_after"] < report["compression"]["bytes_before"]
    x = samples(1)[0]
    lathe.compile(model, tmp_path / "plain.lathe")
    plain = lathe.load(tmp_path / "plain.lathe").session().run(x)["y"]
    rounded = lathe.load(output).session().run(x)["y"]
    error = np.linalg.norm(rounded - plain) / np.linalg.norm(plain)
    assert 0.01 < error < 0.2


@pytest.mark.parametrize("kind", ["list", "generator", "one", "path"])
def test_calibration(kind, model, tmp_path):
    """GPTQ refuses to run without data, and sees what is given."""
    calib = {"list": samples(), "generator": iter(samples()), "one": samples(1)[0], "path": tmp_path / "x.npz"}[kind]
    np.savez(tmp_path / "x.npz", **samples(1)[0])
    report = lathe.quantize(model, tmp_path / "small.onnx", calib=calib, method="gptq", bits=4, group_size=32)
    assert report["compression"]["samples"] == (3 if kind in ("list", "generator") else 1)
    assert all(layer["error_of"] == "output" for layer in report["compression"]["layers"])
    onnx.checker.check_model(onnx.load(tmp_path / "small.onnx"))


def test_other_commands(model, tmp_path):
    report = lathe.prune(model, tmp_path / "pruned.lathe", sparsity=0.75)
    assert [layer["sparsity"] for layer in report["compression"]["pruned"]] == [0.75, 0.75]
    report = lathe.lowrank(model, tmp_path / "thin.lathe", rank=8)
    assert {layer["rank"] for layer in report["compression"]["layers"]} == {8}


def test_recipes(model, tmp_path):
    recipe = {"version": 1, "steps": [{"step": "quantize", "bits": 8, "tensors": ["second"]}]}
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    for given in (recipe, tmp_path / "recipe.json", str(tmp_path / "recipe.json")):
        assert list(formats(lathe.optimize(model, tmp_path / "m.lathe", recipe=given))) == ["second"]


def test_report_files(model, tmp_path):
    report = lathe.quantize(model, tmp_path / "m.lathe", report=tmp_path / "r.json")
    assert json.loads((tmp_path / "r.json").read_text()) == report
    lathe.quantize(model, tmp_path / "m.lathe", report=tmp_path / "r.html")
    assert "first" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    "options, words",
    [
        ({"bits": 4, "method": "gptq"}, ["--calib"]),
        ({"calib": []}, ["at least one", "none"]),
        ({"calib": [np.zeros(3, np.float32)]}, ["dictionary of arrays", "ndarray"]),
        ({"calib": np.zeros(3, np.float32)}, ["token ids", "float32"]),
        ({"calib": np.zeros((3, 3), np.int64)}, ["one dimension"]),
        ({"calib": 3}, ["calib", "int"]),
        ({"bits": 9}, ["bits"]),
        ({"no_such_option": 1}, ["--no-such-option"]),
    ],
)
def test_errors(options, words, model, tmp_path):
    with pytest.raises(lathe.Error) as caught:
        lathe.quantize(model, tmp_path / "m.lathe", **options)
    assert caught.value.exit_code == 2
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert not (tmp_path / "m.lathe").exists()


def test_wrong_data(model, tmp_path):
    with pytest.raises(lathe.Error) as caught:
        lathe.quantize(model, tmp_path / "m.lathe", calib={"z": np.zeros((1, 64), np.float32)}, mode="static")
    assert caught.value.exit_code == 3 and "no input 'z'" in str(caught.value)
