# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Layers that are calibrated one after another get what the layers before them compute from their codes."""
import json

import numpy as np
import onnx
import pytest
from cli_support import kill_when, save, save_chain
from onnx import helper, numpy_helper, reference
from test_resume import parts

LAYERS, WIDTH = 6, 64
FLAGS = ["--bits", "2", "--group-size", "32", "--method", "gptq", "--prefer", "size", "--jobs", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chain of products, and samples of its input: few directions of it carry most."""
    path = tmp_path_factory.mktemp("sequential")
    values = np.random.default_rng(0)
    save_chain(path / "model.onnx", LAYERS, WIDTH, values)
    (path / "samples").mkdir()
    mix = values.standard_normal((WIDTH, WIDTH), np.float32) * np.float32(0.8) ** np.arange(WIDTH, dtype=np.float32)[:, None]
    for i in range(4):
        np.savez(path / "samples" / f"{i}.npz", x0=values.standard_normal((128, WIDTH), np.float32) @ mix / np.float32(3))
    return path


def quantize(folder, output, *flags, model="model.onnx"):
    return ["quantize", folder / model, "-o", output, *FLAGS, "--calib", folder / "samples", *flags]


def results(path, folder):
    model = reference.ReferenceEvaluator(onnx.load(path))
    samples = [np.load(file)["x0"] for file in sorted((folder / "samples").iterdir())]
    return np.concatenate([model.run(None, {"x0": x})[0] for x in samples])


def test_equals_a_step_for_each_layer(lathe_tool, folder, tmp_path):
    """A step sees what the steps before it have left; so does a layer what the layers before it have."""
    names = [f"w{i}" for i in range(LAYERS)]
    steps = [{"step": "quantize", "bits": 2, "group_size": 32, "method": "gptq", "prefer": "size", "tensors": [name]} for name in names]
    (tmp_path / "recipe.json").write_text(json.dumps({"steps": steps}))
    commands = {
        "steps": ["optimize", folder / "model.onnx", "-o", tmp_path / "steps.onnx", "--recipe", tmp_path / "recipe.json", "--calib", folder / "samples"],
        "alone": quantize(folder, tmp_path / "alone.onnx"),
        "sequential": quantize(folder, tmp_path / "sequential.onnx", "--sequential"),
    }
    layers = {}
    for name, words in commands.items():
        lathe_tool.ok(*words, "--report", tmp_path / "report.json")
        told = json.loads((tmp_path / "report.json").read_text())["compression"]["layers"]
        assert [layer["weight"] for layer in told] == names
        assert {layer["method"] for layer in told} == {"gptq"}
        layers[name] = [layer["snr_db"] for layer in told]
    assert np.array_equal(results(tmp_path / "sequential.onnx", folder), results(tmp_path / "steps.onnx", folder))
    assert layers["sequential"] == layers["steps"]
    # The first layer has none before it.
    assert layers["sequential"][0] == layers["alone"][0]
    assert not set(layers["sequential"][1:]) & set(layers["alone"][1:])


def test_one_layer_has_none_before_it(lathe_tool, folder, tmp_path):
    """Layers that read the same, side by side: the codes are those of all layers at once."""
    values = np.random.default_rng(1)
    weights = [numpy_helper.from_array(values.standard_normal((WIDTH, WIDTH), np.float32), name) for name in ("w", "v")]
    nodes = [helper.make_node("MatMul", ["x0", "w"], ["a"], "a"), helper.make_node("MatMul", ["x0", "v"], ["b"], "b"),
             helper.make_node("Add", ["a", "b"], ["y"], "y")]
    save(folder / "side.onnx", nodes, [("x0", ["n", WIDTH])], [("y", ["n", WIDTH])], weights)
    for name, flags in (("alone", []), ("sequential", ["--sequential"])):
        lathe_tool.ok(*quantize(folder, tmp_path / f"{name}.onnx", *flags, model="side.onnx"))
    assert np.array_equal(results(tmp_path / "alone.onnx", folder), results(tmp_path / "sequential.onnx", folder))


def test_killed_run_is_taken_over(lathe_tool, folder, tmp_path):
    whole, output = tmp_path / "whole.lathe", tmp_path / "model.lathe"
    words = quantize(folder, output, "--sequential")
    lathe_tool.ok(*quantize(folder, whole, "--sequential"))
    kill_when([lathe_tool.path, *words], lambda: len(parts(output)) >= 5, output)
    result = lathe_tool(*words)
    assert result.returncode == 0 and "finished parts of an interrupted run" in result.stderr, result.stderr
    assert output.read_bytes() == whole.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"whole.lathe", "model.lathe"}
