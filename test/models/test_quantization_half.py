# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models that multiply in 16-bit floats are compressed as those in f32 are: products add up in f32, and read the codes."""
import json
import logging

import numpy as np
import onnx
import onnxruntime
import pytest
from checkpoints import Layer, llama_modules, named_like, weights_of, write_safetensors
from onnx import numpy_helper
from onnxruntime.transformers.float16 import convert_float_to_float16
from support import MODELS, make_inputs

import lathe

logging.getLogger("onnxruntime.transformers.float16").setLevel(logging.ERROR)


def half(onnx_path, name):
    """The model in f16, its inputs and outputs in f32; and itself."""
    model = onnx.load(onnx_path(name))
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    return convert_float_to_float16(copy, keep_io_types=True, min_positive_val=6e-8), model


def outputs_of(model, inputs):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))


def error(outputs, expected):
    return max(np.abs(outputs[name] - value).max() / np.abs(value).max() for name, value in expected.items())


def compiled(model, folder, **options):
    onnx.save(model, folder / "model.onnx")
    report = folder / "report.json"
    path = lathe.compile(folder / "model.onnx", folder / "m.lathe", target="cpu:avx2", generate="off", report=report, **options)
    return lathe.load(path).session(threads=2), json.loads(report.read_text())


def is_dense(report, weights):
    """Whether a kernel makes one of the weights dense."""
    generated = {node for kernel in report["kernels"] if kernel["kind"] == "generated" for node in kernel["nodes"]}
    return bool(generated & set(weights))


@pytest.mark.parametrize("name", ["llama", "bert"])
@pytest.mark.parametrize("flags", [{"int8": True}, {"recipe": {"steps": [{"bits": 8, "group_size": 32, "method": "gptq"}]}}])
def test_half(onnx_path, tmp_path, name, flags):
    model, whole = half(onnx_path, name)
    past = 3 if MODELS[name].cache else 0
    inputs = make_inputs(name, 2, 9, past=past)
    if "recipe" in flags:
        (tmp_path / "recipe.json").write_text(json.dumps(flags["recipe"]))
        np.savez(tmp_path / "calib.npz", **make_inputs(name, 3, 17, past=past))
        flags = {"recipe": tmp_path / "recipe.json", "calib": tmp_path / "calib.npz"}
    session, report = compiled(model, tmp_path, **flags)
    layers = report["compression"]["layers"]
    assert len(layers) == 16 and {layer["kind"] for layer in layers} == {"table", "matmul"}
    assert all(layer["bytes_before"] == 2 * layer["inputs"] * layer["outputs"] for layer in layers)
    assert not is_dense(report, [layer["weight"] for layer in layers])
    assert error(session.run(inputs), outputs_of(whole, inputs)) <= 3e-2


def test_half_as_onnx(onnx_path, tmp_path, lathe_tool):
    """What is written as ONNX is what is compiled."""
    model, _ = half(onnx_path, "bert")
    session, _ = compiled(model, tmp_path, recipe=recipe(tmp_path, {"bits": 8}))
    lathe_tool.ok("quantize", tmp_path / "model.onnx", "-o", tmp_path / "out.onnx", "--bits", "8")
    inputs = make_inputs("bert", 2, 9)
    assert error(session.run(inputs), outputs_of(onnx.load(tmp_path / "out.onnx"), inputs)) <= 5e-3


def recipe(folder, step):
    (folder / "recipe.json").write_text(json.dumps({"steps": [step]}))
    return folder / "recipe.json"


@pytest.mark.parametrize("reordered", [False, True])
def test_checkpoint_for_half(onnx_path, tmp_path, reordered):
    model, whole = half(onnx_path, "llama")
    weights, random = weights_of(whole), np.random.default_rng(0)
    layers, tensors = {}, {}
    for module, node in llama_modules(whole).items():
        weight = weights[node.input[1]]
        layer = Layer(weight, 4, 32, False, random.permutation(len(weight)) if reordered else None)
        layers[node.input[1]] = layer.dense
        tensors.update(layer.gptq(module))
    for tensor in whole.graph.initializer:
        if tensor.name in layers:
            tensor.CopyFrom(numpy_helper.from_array(layers[tensor.name], tensor.name))
    write_safetensors(tmp_path / "ckpt.safetensors", tensors)
    session, report = compiled(named_like(model, "scopes"), tmp_path, weights=tmp_path / "ckpt.safetensors")
    if not reordered:  # else there are kernels of these names that pick columns
        assert not is_dense(report, [f"{module}.weight" for module in llama_modules(whole)])
    inputs = make_inputs("llama", 2, 9, past=3)
    assert error(session.run(inputs), outputs_of(whole, inputs)) <= 3e-3


def test_plain_checkpoint_for_half(onnx_path, tmp_path):
    """Numbers of another type are rounded once, when the model is compiled."""
    model, whole = half(onnx_path, "llama")
    weights, tensors, random = weights_of(whole), {}, np.random.default_rng(0)
    for module, node in llama_modules(whole).items():
        weight = weights[node.input[1]] * (1 + 0.1 * random.standard_normal(weights[node.input[1]].shape)).astype(np.float32)
        tensors[f"{module}.weight"] = weight.T.copy()
        next(t for t in whole.graph.initializer if t.name == node.input[1]).CopyFrom(numpy_helper.from_array(weight, node.input[1]))
    write_safetensors(tmp_path / "ckpt.safetensors", tensors)
    session, report = compiled(named_like(model, "scopes"), tmp_path, weights=tmp_path / "ckpt.safetensors")
    assert report["checkpoint"] == {"quantized": 0, "dense": 14, "kept": 1}
    assert not [kernel for kernel in report["kernels"] if kernel["nodes"] and set(kernel["nodes"]) <= set(tensors)]
    inputs = make_inputs("llama", 2, 9, past=3)
    assert error(session.run(inputs), outputs_of(whole, inputs)) <= 3e-3
