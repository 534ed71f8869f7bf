# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Steps of recipes that change weights and keep the function: rotations of residual streams."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from export.inputs import SIZES
from onnx import numpy_helper
from test_onnx_export import make_inputs, onnx_session, run

import lathe

# Of the largest value of an output.
EXACT = 1e-5
NORMS = {"LayerNormalization": [1, 2], "RMSNormalization": [1], "SimplifiedLayerNormalization": [1]}


def vary(source, target):
    """Exported fixtures are not trained: all gains are one initializer of ones, all biases one of zeros. Each reader gets its own numbers."""
    model = onnx.load(source)
    random = np.random.default_rng(0)
    vectors = {}
    for tensor in model.graph.initializer:
        if len(tensor.dims) == 1 and tensor.data_type == onnx.TensorProto.FLOAT and tensor.dims[0] >= 16:
            values = numpy_helper.to_array(tensor)
            if np.ptp(values) == 0:
                vectors[tensor.name] = values
    for index, node in enumerate(model.graph.node):
        for place, name in enumerate(node.input):
            if name in vectors:
                values = vectors[name] * np.exp(random.standard_normal(vectors[name].shape)) + (vectors[name] == 0) * random.standard_normal(vectors[name].shape)
                node.input[place] = f"{name}_{index}_{place}"
                model.graph.initializer.append(numpy_helper.from_array(values.astype(np.float32), node.input[place]))
    onnx.save(model, target)
    return target


@pytest.fixture(scope="module")
def varied(onnx_path, tmp_path_factory):
    folder, done = tmp_path_factory.mktemp("varied"), {}

    def get(name):
        if name not in done:
            path = vary(onnx_path(name), folder / f"{name}.onnx")
            done[name] = path, lathe.load(lathe.compile(path, folder / f"{name}.lathe")).session(threads=1), onnx_session(path)
        return done[name]

    return get


def transformed(lathe_tool, source, folder, steps, output="transformed.lathe"):
    """The compiled model, and what the report tells of the steps."""
    recipe, report = folder / "recipe.json", folder / "report.json"
    recipe.write_text(json.dumps({"version": 1, "steps": steps}))
    lathe_tool.ok("compile", source, "-o", folder / output, "--recipe", recipe, "--report", report, *(["--emit", "onnx"] if output.endswith("onnx") else []))
    return folder / output, json.loads(report.read_text())["compression"]["transforms"]


def largest_difference(outputs, references):
    return max((np.abs(outputs[key] - references[key]).max() / np.abs(references[key]).max() for key in references if references[key].size), default=0)


@pytest.mark.parametrize("name", ["llama", "llama_nocache", "qwen2", "gpt2", "gpt2_nocache", "t5", "bert"])
@pytest.mark.parametrize("seed", [0, 7])
def test_rotation_is_exact(name, seed, varied, lathe_tool, tmp_path):
    source, plain, reference = varied(name)
    path, told = transformed(lathe_tool, source, tmp_path, [{"step": "rotate", "seed": seed}])
    rotated = [entry for entry in told if "reason" not in entry]
    session = lathe.load(path).session(threads=1)
    for number, size in enumerate(SIZES):
        inputs = make_inputs(reference, size, number)
        outputs = plain.run(inputs)
        assert largest_difference(session.run(inputs), outputs) < EXACT
    if name == "bert":
        # What a norm gives is added to the next layer's result, with gains that differ.
        assert not rotated and "gains" in told[0]["reason"] and "node_add" in told[0]["reason"]
        return
    assert rotated and all(entry["channels"] == 64 for entry in rotated)
    # It did something: weights are others.
    assert path.read_bytes().count(weight_bytes(source, rotated[0]["weights"][0])) == 0


def weight_bytes(source, name):
    tensor = next(tensor for tensor in onnx.load(source).graph.initializer if tensor.name == name)
    return np.ascontiguousarray(numpy_helper.to_array(tensor).reshape(-1)[-64:]).tobytes()
