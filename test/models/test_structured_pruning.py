# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Heads, neurons and channels that are taken away: what is left is the model in which products multiply them by zero, as plain ONNX and as
an artifact, at all sizes."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from export.inputs import SIZES
from onnx import numpy_helper
from test_onnx_export import make_inputs, onnx_session, run
from test_transforms import vary

import lathe

HEADS = ["bart", "bert", "bert_legacy", "bert_opset23", "distilbert", "gpt2", "gpt2_legacy", "gpt2_nocache", "llama", "llama_opset23", "mistral", "qwen2", "roberta",
         "t5", "vit", "whisper"]
# Of the largest value of an output.
EXACT = 2e-5


@pytest.fixture(scope="module")
def varied(onnx_path, tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("varied"), {}

    def get(name):
        if name not in done:
            done[name] = vary(onnx_path(name), folder / f"{name}.onnx")
        return done[name]

    return get


def prune(lathe_tool, source, folder, step, *flags):
    """The model as an artifact and as ONNX, and what the report tells."""
    recipe, report = folder / "recipe.json", folder / "report.json"
    recipe.write_text(json.dumps({"version": 1, "steps": [{"step": "prune", **step}]}))
    for name, more in (("pruned.lathe", []), ("pruned.onnx", ["--emit", "onnx"])):
        lathe_tool.ok("compile", source, "-o", folder / name, "--recipe", recipe, "--report", report, *more, *flags)
    return folder / "pruned.lathe", folder / "pruned.onnx", json.loads(report.read_text())["compression"]["structured"]


def contraction(node):
    attributes = {attribute.name: attribute.i for attribute in node.attribute}
    return 1 if node.op_type == "Conv" or attributes.get("transB") else 0


def mask(source, target, told):
    """The model whose products with constant matrices multiply what went by zero."""
    model = onnx.load(source)
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for entry in told:
        for node in model.graph.node:
            if node.name not in entry["readers"]:
                continue
            name = node.input[1]
            values = numpy_helper.to_array(weights[name]).copy()
            axis = contraction(node)
            width = values.shape[axis] // entry["before"]
            gone = [unit * width + column for unit in entry["removed"] for column in range(width)]
            values[(slice(None),) * axis + (gone,)] = 0
            weights[name].CopyFrom(numpy_helper.from_array(values, name))
    onnx.save(model, target)
    return target


def cut(values, shape, told):
    """What is left of a cache: of heads along the axis whose extent changed."""
    for axis, (before, after) in enumerate(zip(values.shape, shape)):
        if isinstance(after, int) and before != after:
            entry = next(entry for entry in told if entry["after"] == after and entry["before"] == before)
            values = np.take(values, [unit for unit in range(before) if unit not in entry["removed"]], axis)
    return values


def shapes(values):
    return {value.name: value.shape for value in values}


def assert_equal(outputs, references):
    assert outputs.keys() == references.keys()
    for key, reference in references.items():
        assert outputs[key].shape == reference.shape, key
        if reference.size:
            assert np.abs(outputs[key] - reference).max() <= EXACT * np.abs(reference).max(), key


def assert_is_masked(artifact, exported, source, told, folder):
    onnx.checker.check_model(onnx.load(exported), full_check=True)
    masked, written = onnx_session(mask(source, folder / "masked.onnx", told)), onnx_session(exported)
    session = lathe.load(artifact).session(threads=1)
    before = after = 0
    for path in (source, exported):
        before, after = after, sum(numpy_helper.to_array(tensor).nbytes for tensor in onnx.load(path).graph.initializer)
    assert after < before
    compared = 0
    for number, size in enumerate(SIZES):
        inputs = make_inputs(masked, size, number)
        try:
            references = run(masked, inputs)
        except Exception:  # ONNX Runtime has an exception class for each status
            continue
        changed = {name: [entry] for entry in told for name in entry.get("interface", [])}
        smaller = {name: cut(values, shapes(written.get_inputs())[name], changed.get(name, [])) for name, values in inputs.items()}
        references = {name: cut(values, shapes(written.get_outputs())[name], changed.get(name, [])) for name, values in references.items()}
        assert_equal(run(written, smaller), references)
        assert_equal(session.run(smaller), references)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("name", HEADS)
def test_heads_are_those_masked(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "heads", "sparsity": 0.25})
    assert told and all("reason" not in entry for entry in told)
    for entry in told:
        assert entry["after"] == entry["before"] * 3 // 4 and len(entry["removed"]) == entry["before"] // 4
        assert entry["bytes_after"] == pytest.approx(entry["bytes_before"] * 3 / 4, abs=512)
        # Heads of keys stay, unless each query head has its own.
        assert ("interface" in entry) == (name in ("gpt2", "gpt2_legacy"))
    assert_is_masked(artifact, exported, source, told, tmp_path)


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "llama_opset23"])
def test_heads_go_with_their_keys(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "heads", "sparsity": 0.5, "grouped_queries": "together"})
    for entry in told:
        assert (entry["before"], entry["after"]) == (2, 1) and len(entry["interface"]) == 4
        assert entry["bytes_after"] * 2 == entry["bytes_before"]
    assert_is_masked(artifact, exported, source, told, tmp_path)


@pytest.mark.parametrize("name", HEADS + ["swin", "swin_legacy"])
def test_neurons_are_those_masked(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "neurons", "sparsity": 0.25, "exclude": ["*patch*", "*Conv_571"]})
    done = [entry for entry in told if "reason" not in entry]
    assert done and all(entry["after"] % 16 == 0 for entry in done)
    assert_is_masked(artifact, exported, source, told, tmp_path)


@pytest.mark.parametrize("name", ["swin", "swin_legacy"])
def test_heads_with_a_bias_for_each(name, varied, lathe_tool, tmp_path):
    source = varied(name)
    artifact, exported, told = prune(lathe_tool, source, tmp_path, {"pattern": "heads", "sparsity": 0.5})
    assert all(entry["after"] * 2 == entry["before"] for entry in told)
    assert_is_masked(artifact, exported, source, told, tmp_path)
