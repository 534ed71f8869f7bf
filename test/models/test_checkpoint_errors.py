# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Checkpoints that can't be used: each an error that names the tensor, with exit code 3, and no file."""
import json

import numpy as np
import onnx
import pytest
from checkpoints import FloatLayer, Layer, write_safetensors
from onnx import TensorProto, helper, numpy_helper

USAGE, INVALID_MODEL = 2, 3


@pytest.fixture
def model(tmp_path):
    """y = fc2(fc1(x)), as the TorchScript exporter names it."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.normal(size=(64, 64)).astype(np.float32), f"onnx::MatMul_{i}") for i in range(2)]
    bias = numpy_helper.from_array(np.ones(64, np.float32), "fc2.bias")
    nodes = [
        helper.make_node("MatMul", ["x", weights[0].name], ["h"], "/fc1/MatMul"),
        helper.make_node("MatMul", ["h", weights[1].name], ["i"], "/fc2/MatMul"),
        helper.make_node("Add", ["i", "fc2.bias"], ["y"], "/fc2/Add"),
    ]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 64])] for name in ("x", "y")]
    graph = helper.make_graph(nodes, "small", *values, [*weights, bias])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def tensors(layers=("fc1", "fc2"), k=64, n=64):
    weight = np.random.default_rng(1).normal(size=(k, n)).astype(np.float32)
    return {name: array for layer in layers for name, array in Layer(weight, 4, 32, False).gptq(layer).items()}


@pytest.fixture
def refused(lathe_tool, model, tmp_path):
    def run(given, *words, code=INVALID_MODEL, config=None, command="compile", flags=()):
        path = given
        if isinstance(given, dict):
            path = write_safetensors(tmp_path / "ckpt.safetensors", given)
        if config is not None:
            (tmp_path / "quantize_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
        folder = tmp_path / "out"
        folder.mkdir(exist_ok=True)
        output = () if command == "check" else ("-o", folder / "m.lathe")
        result = lathe_tool(command, model, *output, "--weights", path, *flags)
        assert result.returncode == code, result.stderr
        assert "error:" in result.stderr
        for word in words:
            assert word in result.stderr, f"'{word}' is not in: {result.stderr}"
        assert list(folder.iterdir()) == []

    return run


def test_accepted(lathe_tool, model, tmp_path):
    """What the others change is good as it is; also where the model is quantized further, and a bias is zeros."""
    path = write_safetensors(tmp_path / "ckpt.safetensors", {**tensors(), "fc1.bias": np.zeros(64, np.float16)})
    out = lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--weights", path)
    assert "2 quantized and 0 other initializers" in out
    lathe_tool.ok("check", model, "--weights", path)
    lathe_tool.ok("quantize", model, "-o", tmp_path / "m.lathe", "--weights", path, "--bits", "8")


def test_names_that_match_nothing(refused, lathe_tool, model, tmp_path):
    refused(tensors(("fc1", "fc3")), "tensor 'fc3.qweight' belongs to no initializer", "'fc3.weight'")
    refused(tensors(("fc1", "fc3")), "tensor 'fc3.qweight'", command="check")
    refused({**tensors(), "fc1.bias": np.ones(64, np.float16) * 2}, "tensor 'fc1.bias' belongs to no initializer")
    refused({"other": np.ones(4, np.int32)}, "belong to initializers", "none among 1")
    path = write_safetensors(tmp_path / "ckpt.safetensors", tensors(("fc1", "fc3")))
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--weights", path, "--skip-weights", "fc3.*")
    # As where the model is a part of what the checkpoint is of.
    for command in (["check", model], ["compile", model, "-o", tmp_path / "m.lathe"]):
        lathe_tool.ok(*command, "--weights", path, "--partial-weights")
    for flag in (["--skip-weights", "x"], ["--partial-weights"]):
        result = lathe_tool("compile", model, "-o", tmp_path / "m.lathe", *flag)
        assert result.returncode == USAGE and f"{flag[0]} goes with --weights" in result.stderr
    refused(tensors(k=32), "initializer 'onnx::MatMul_0' has shape [64, 64]", flags=["--partial-weights"])


def test_shapes_that_differ(refused):
    refused(tensors(k=32), "initializer 'onnx::MatMul_0' has shape [64, 64]", "'fc1.qweight'", "32 inputs and 64 outputs")
    refused({**tensors(), "fc2.bias": np.ones(32, np.float16)}, "initializer 'fc2.bias' has shape [64]", "'fc2.bias'", "[32]")
    refused({**tensors(), "fc2.bias": np.ones(64, np.int32)}, "initializer 'fc2.bias' is of floats", "I32 [64]")


@pytest.mark.parametrize("part", ["qzeros", "scales", "qweight"])
def test_parts_that_are_missing(refused, part):
    given = tensors()
    del given[f"fc2.{part}"]
    refused(given, "'fc2.qweight'", f"'fc2.{part}'")


def test_compressed_tensors(refused):
    def parts(**changed):
        weight = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)
        given = {name: array for layer in ("fc1", "fc2") for name, array in Layer(weight, 4, 32, False).compressed(layer, False).items()}
        for name, value in changed.items():
            given[f"fc1.weight_{name}"] = value
        return {name: array for name, array in given.items() if array is not None}

    config = {"quant_method": "compressed-tensors", "format": "pack-quantized"}
    refused(parts(shape=None), "tensor 'fc1.weight_packed' has no 'fc1.weight_shape'", config=config)
    refused(parts(packed=None), "tensor 'fc1.weight_g_idx' has no 'fc1.weight_packed'")
    refused(parts(shape=np.array([64, 1 << 40])), "weight_shape: says 64 outputs and 1099511627776 inputs")
    refused(parts(shape=np.array([64, -1])), "weight_shape: says 64 outputs and -1 inputs")
    refused(parts(shape=np.array([64, 40])), "which 40 inputs in codes I32 [64, 8] don't tell")
    refused(parts(zero_point=np.zeros((4, 2), np.int32)), "expects zero points of I32 [8, 2]", "got I32 [4, 2]")
    refused(parts(), "format 'marlin-24' is not supported: expected 'pack-quantized'", config={**config, "format": "marlin-24"})
    refused(parts(), "quant_method 'gptq' does not fit codes I32 [64, 8]", config={"quant_method": "gptq"})


def test_codes_of_a_byte(refused):
    weight = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)

    def parts(**changed):
        given = {**FloatLayer(weight).bytes("fc1"), **Layer(weight, 8, -1, False).bytes("fc2", False)}
        given.update({name.replace("__", "."): value for name, value in changed.items()})
        return {name: array for name, array in given.items() if array is not None}

    config = {"quant_method": "compressed-tensors", "format": "float-quantized"}
    refused(parts(fc1__weight_scale=None), "initializer 'onnx::MatMul_0' is of floats", "'fc1.weight'", "F8_E4M3 [64, 64]")
    refused(parts(fc1__weight_scale=np.ones((2, 2), np.float32)), "layer 'fc1'", "[64, 1]", "'weight_block_size'", "F32 [2, 2]")
    refused(parts(fc1__weight_scale=np.ones((2, 2), np.float32)), "blocks of 16 x 64", "F32 [2, 2]", config={"weight_block_size": [16, 64]})
    refused(parts(), "field 'weight_block_size' expects two integers", config={"weight_block_size": [0, 64]})
    refused(parts(fc1__weight_scale=np.ones((64, 1), np.int32)), "scales: expects F16, BF16 or F32", "I32 [64, 1]", config={})
    refused(parts(fc1__weight_scale=np.ones((64, 1, 1), np.float32)), "at most two axes", "F32 [64, 1, 1]")
    refused(parts(fc1__weight_zero_point=np.ones((64, 1), np.int8)), "zero points of 0")
    refused(parts(fc2__weight_zero_point=np.zeros((2, 1), np.int8)), "as many zero points as scales", "I8 [2, 1]")
    refused(parts(), "format 'nvfp4-pack-quantized' is not supported", "'float-quantized'", config={**config, "format": "nvfp4-pack-quantized"})
    refused(parts(), "quant_method 'awq' does not fit codes F8_E4M3 [64, 64]", "'fp8'", config={"quant_method": "awq"})


def test_formats_for_kernels(refused):
    weight = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32)

    def both(write):
        layer = Layer(weight, 4, 32, True)
        return {name: array for module in ("fc1", "fc2") for name, array in write(layer, module).items()}

    gemv, marlin = both(Layer.gemv), both(Layer.marlin)
    refused(gemv, "layer 'fc1'", "expects 'q_group_size'", "'quant_config.json'", "F16 [64, 32]")
    refused(gemv, "says groups of 16, of which 64 inputs have qzeros of I32 [64, 1], got I32 [64, 4]", config={"quant_method": "awq", "version": "gemv", "group_size": 16})
    refused(gemv, "format 'gemm' does not fit codes I32 [64, 8]: expected 'gemv'", config={"quant_method": "awq", "version": "gemm", "group_size": 32})
    refused(tensors(), "format 'gptq_p' is not supported: expected 'gptq'", "write the checkpoint in one of these", config={"quant_method": "gptq", "checkpoint_format": "gptq_p"})
    fast = {name: array.view(np.int16) if name.endswith("qweight") else array for name, array in both(Layer.awq).items()}
    refused(fast, "format 'gemv_fast' is not supported: expected 'gemm'", config={"quant_method": "awq", "version": "gemv_fast"})
    refused({**marlin, "fc1.s": marlin["fc1.s"][:, :32].copy()}, "expects marlin's codes of 4 bits", "I32 [4, 128]", "F16 [2, 32]", config={})
    refused({**marlin, "fc1.s": marlin["fc1.s"][[0, 1, 0]].copy()}, "64 inputs don't make 3 groups")
    refused(marlin, "format 'gptq' does not fit codes I32 [4, 128]: expected 'marlin'", config={"checkpoint_format": "gptq"})
    refused(tensors(), "format 'marlin' does not fit codes I32 [8, 64]: expected 'gptq'", config={"checkpoint_format": "marlin"})


def test_parts_that_do_not_fit(refused):
    given = tensors()
    given["fc1.g_idx"] = np.where(given["fc1.g_idx"] == 1, 7, 0).astype(np.int32)
    refused(given, "layer 'fc1': g_idx: expects groups below 2, got 7 for input 32")
    refused({**tensors(), "fc1.weight": np.ones((64, 64), np.float16)}, "'fc1.qweight'", "'fc1.weight'")
    refused(tensors(), "'quantize_config.json'", "8 bits", config={"bits": 8})
    refused(tensors(), "'quantize_config.json'", "field 'bits' expects an integer", config={"bits": "4"})
    refused(tensors(), "'quantize_config.json' is not a JSON object", config="{")
    refused(tensors(), "quant_method 'hqq'", "'gptq'", config={"quant_method": "hqq"})
    refused(tensors(), "format 'marlin'", config={"checkpoint_format": "marlin"})


def test_files(refused, tmp_path):
    path = write_safetensors(tmp_path / "ckpt.safetensors", tensors())
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    refused(path, "'ckpt.safetensors' is not a safetensors file", "ends at byte")
    path.write_bytes(whole[:7])
    refused(path, "expects at least 8 bytes, got 7")
    refused(tmp_path / "none.safetensors", "no such file or folder", code=USAGE)
    refused("", "--weights", "empty path", code=USAGE)
    refused("n" * 5000, "no such file or folder", code=USAGE)
    empty = tmp_path / "empty"
    empty.mkdir()
    refused(empty, "expects a file *.safetensors in the folder, found none")
    for name in ("a", "b"):
        write_safetensors(empty / f"{name}.safetensors", tensors())
    refused(empty, "is in 'a.safetensors' and in 'b.safetensors'")


@pytest.mark.parametrize(
    "index, words",
    [
        ("[", ["expects a JSON object with an object 'weight_map'"]),
        ({"weight_map": []}, ["weight_map"]),
        ({"weight_map": {"fc1.qweight": "../ckpt.safetensors"}}, ["a name in the same folder", "../ckpt"]),
        ({"weight_map": {"fc1.qweight": 1}}, ["a name in the same folder"]),
        ({"weight_map": {"fc1.qweight": "none.safetensors"}}, ["'none.safetensors' cannot be read"]),
        ({"weight_map": {"fc9.qweight": "ckpt.safetensors"}}, ["'fc9.qweight' is in 'ckpt.safetensors', which does not have it"]),
    ],
)
def test_indices(refused, tmp_path, index, words):
    write_safetensors(tmp_path / "ckpt.safetensors", tensors())
    (tmp_path / "model.safetensors.index.json").write_text(index if isinstance(index, str) else json.dumps(index))
    refused(tmp_path, *words)
