# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe quantize and recipes: wrong ones are refused at once, and nothing is left of a run that fails."""
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from cli_support import USAGE, check_failure, check_refused
from onnx import TensorProto, helper, numpy_helper


# Prints the largest resident memory of a command, in KiB.
PEAK = """
import resource, subprocess, sys
result = subprocess.run(sys.argv[1:], capture_output=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
sys.exit(result.returncode)
"""


# What a report tells of a layer whose product was timed.
TIMES = {"kernel", "rows", "microseconds_before", "microseconds_after", "timed"}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """y[batch, 48] = x[batch, 64] . weight + 1"""
    weight = np.random.default_rng(0).normal(size=(64, 48)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"], name="the_matmul")]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])] for name, n in (("x", 64), ("y", 48))]
    graph = helper.make_graph(nodes, "small", *values, [numpy_helper.from_array(weight, "weight")])
    path = tmp_path_factory.mktemp("quantize") / "model.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    return path


@pytest.fixture
def refused(lathe_tool, model, tmp_path):
    """refused(words, *flags): exit code 2 within two seconds, and no file."""
    folder = tmp_path / "out"
    folder.mkdir()

    def run(words, *flags, command="quantize"):
        check_refused(lathe_tool, command, model, folder, *flags, words=words)

    return run


@pytest.mark.parametrize(
    "recipe, words",
    [
        ("{", ["recipe", "JSON"]),
        ("[]", ["recipe", "object"]),
        ({"step": []}, ["field 'step'", "did you mean 'steps'"]),
        ({"steps": {}}, ["'steps'", "list"]),
        ({"version": 2, "steps": []}, ["'version'", "expects 1"]),
        ({"steps": [{"bitts": 4}]}, ["step 1", "field 'bitts'", "did you mean 'bits'"]),
        ({"steps": [{}, {"method": "gtpq"}]}, ["step 2", "field 'method'", "did you mean 'gptq'"]),
        ({"steps": [{"bits": 5}]}, ["field 'bits'", "2, 3, 4 or 8"]),
        ({"steps": [{"bits": "4"}]}, ["field 'bits'", '"4"']),
        ({"steps": [{"group_size": 33}]}, ["field 'group_size'", "32, 64"]),
        ({"steps": [{"smooth": 1.5}]}, ["field 'smooth'", "from 0"]),
        ({"steps": [{"tensors": ["decoder*"]}]}, ["field 'tensors'", "decoder*"]),
        ({"steps": [{"tensors": "weight"}]}, ["field 'tensors'", "list"]),
        ({"steps": [{"method": "gptq"}]}, ["method 'gptq'", "--calib"]),
        ({"steps": [{"mode": "static"}]}, ["mode 'static'", "--calib"]),
        ({"steps": [{"double_quantization": True, "format": "mxfp4"}]}, ["field 'double_quantization'", "mxfp4"]),
        ({"steps": [{"double_quantization": True, "method": "hqq"}]}, ["field 'double_quantization'", "hqq"]),
        ({"steps": [{"bias_correction": True}]}, ["correcting biases", "--calib"]),
        ({"steps": [{"step": "equalize", "tensors": ["decoder*"]}]}, ["step 1", "field 'tensors'", "decoder*"]),
        ({"steps": [{"step": "equalize", "seed": 3}]}, ["field 'seed' is one of steps 'lowrank' and 'rotate'", "'equalize' has step, tensors, exclude"]),
        ({"steps": [{"step": "rotat"}]}, ["step 1", "field 'step'", "did you mean 'rotate'"]),
        ({"steps": [{"step": "rotate"}, {"step": "rotate", "bits": 4}]}, ["step 2", "field 'bits' is one of step 'quantize'", "'rotate' has step, seed"]),
        ({"steps": [{"seed": 4}]}, ["field 'seed' is one of steps 'lowrank' and 'rotate'", "'quantize' has step, mode"]),
        ({"steps": [{"step": "rotate", "sed": 1}]}, ["field 'sed' is not known", "did you mean 'seed'"]),
        ({"steps": [{"step": "rotate", "seed": -1}]}, ["field 'seed'", "from 0 to", "got -1"]),
        ({"steps": [{"step": "rotate", "seed": 1e30}]}, ["field 'seed'", "whole number"]),
        ({"steps": [{"step": "sparsify", "format": "coo"}]}, ["step 1", "field 'format'", "did you mean 'csr'"]),
        ({"steps": [{"step": "sparsify", "prefer": "sise"}]}, ["field 'prefer'", "did you mean 'size'"]),
        ({"steps": [{"step": "sparsify", "tensors": ["decoder*"]}]}, ["step 1", "field 'tensors'", "decoder*"]),
        ({"steps": [{"mode": "dynamic", "activations": "tensor"}]}, ["field 'activations'", "'token'"]),
        ({"steps": [{"prefer": "sped"}]}, ["step 1", "field 'prefer'", "did you mean 'speed'"]),
        ({"prefer": "fast", "steps": []}, ["field 'prefer'", "auto, speed, size"]),
        ({"rows": -1, "steps": []}, ["field 'rows'", "from 0", "got -1"]),
        ({"row": 1, "steps": []}, ["field 'row'", "did you mean 'rows'"]),
    ],
)
def test_wrong_recipes(refused, tmp_path, recipe, words):
    path = tmp_path / "recipe.json"
    path.write_text(recipe if isinstance(recipe, str) else json.dumps(recipe))
    refused(words, "--recipe", path, command="compile")


def test_wrong_flags(refused, tmp_path):
    refused(["--int8", "--int4", "exclude"], "--int8", "--int4", command="compile")
    refused(["--calib", "goes with"], "--calib", tmp_path, command="compile")
    refused(["missing.json"], "--recipe", tmp_path / "missing.json", command="compile")
    refused(["field 'bits'"], "--bits", "9")
    refused(["--prefer", "goes with a recipe"], "--prefer", "size", command="compile")
    refused(["--rows"], "--rows", "0", "--int8", command="compile")
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"rows": 4, "steps": [{"bits": 8}]}))
    refused(["--rows", "field 'rows'", "exclude each other"], "--rows", "5", "--recipe", recipe, command="compile")


def test_wrong_calibration(lathe_tool, model, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()
    samples = tmp_path / "samples"

    def run(words, **arrays):
        samples.mkdir(exist_ok=True)
        if arrays:
            np.savez(samples / "0.npz", **arrays)
        result = lathe_tool("quantize", model, "-o", folder / "m.lathe", "--method", "gptq", "--calib", samples)
        assert result.returncode in (2, 3), result
        check_failure(result, result.returncode, *words)
        assert list(folder.iterdir()) == []

    run(["no .npz file"])
    good = np.ones((3, 64), np.float32)
    run(["0.npz", "x"], z=good)
    run(["0.npz", "x"], x=good[:, :5])
    run(["0.npz", "x"], x=good.astype(np.float64))
    run(["0.npz", "'x'", "not a finite number"], x=np.where(np.arange(64) == 3, np.nan, good).astype(np.float32))
    result = lathe_tool("quantize", model, "-o", folder / "m.lathe", "--method", "gptq", "--calib", tmp_path / "none")
    check_failure(result, USAGE, "none", "do not exist")
    np.save(tmp_path / "tokens.npy", np.arange(5))
    result = lathe_tool("quantize", model, "-o", folder / "m.lathe", "--method", "gptq", "--calib", tmp_path / "tokens.npy")
    check_failure(result, USAGE, "256 tokens", "found 5")
    np.save(tmp_path / "tokens.npy", np.arange(512))
    result = lathe_tool("quantize", model, "-o", folder / "m.lathe", "--method", "gptq", "--calib", tmp_path / "tokens.npy")
    check_failure(result, result.returncode, "tokens can't calibrate this model", ".npz")
    assert list(folder.iterdir()) == []


def test_report_and_recipe(lathe_tool, model, tmp_path):
    """The recipe is in the artifact, so that it can be done again, byte for byte; the report tells each layer."""
    first, second, report = tmp_path / "a.lathe", tmp_path / "b.lathe", tmp_path / "report.json"
    lathe_tool.ok("quantize", model, "-o", first, "--bits", "4", "--group-size", "32", "--report", report)
    recipe = json.loads(lathe_tool.ok("inspect", first, "--json"))["recipe"]
    assert recipe["steps"][0]["bits"] == 4 and recipe["steps"][0]["group_size"] == 32
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    lathe_tool.ok("compile", model, "-o", second, "--recipe", tmp_path / "recipe.json")
    assert first.read_bytes() == second.read_bytes()
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    lathe_tool.ok("quantize", model, "-o", tmp_path / "q.onnx", "--bits", "4", "--group-size", "32", "--report", report)
    # How long our kernels take is nothing to a file for other runtimes.
    untimed = {key: value for key, value in layer.items() if key not in TIMES}
    assert set(untimed) | TIMES == set(layer)
    assert json.loads(report.read_text())["compression"]["layers"] == [untimed]
    assert layer["weight"] == "weight" and layer["node"] == "the_matmul"
    assert layer["bytes_before"] == 64 * 48 * 4 and layer["bytes_after"] == 64 * 48 // 2 + 2 * 48 * 2
    assert 15 < layer["snr_db"] < 30 and layer["cosine"] > 0.99


def test_times(lathe_tool, model, tmp_path):
    """Reports have the time of each product, before and after; where it can't be had they say why."""
    out, report = tmp_path / "m.lathe", tmp_path / "report.json"

    def layer(*flags):
        text = lathe_tool.ok("quantize", model, "-o", out, "--report", report, *flags)
        compression = json.loads(report.read_text())["compression"]
        (only,) = compression["layers"]
        return only, compression.get("not_timed", ""), text

    for flags, rows, kernel in (
        (["--bits", "4", "--group-size", "32"], 128, "matmul int4 g32"),
        (["--mode", "dynamic", "--rows", "7", "--prefer", "size"], 7, "matmul int8 x int8"),
        (["--bits", "8", "--bf16"], 128, "matmul int8"),
        (["--format", "fp8-e4m3", "--rows", "1"], 1, "matmul e4m3"),
        (["--mode", "codebook", "--bits", "4", "--dimension", "2"], 128, "matmul codebook"),
    ):
        told, why, text = layer(*flags)
        before, after = told["timed"]
        floats = "bf16" if "--bf16" in flags else "f32"
        assert (told["kernel"], told["rows"], why) == (kernel, rows, "") and f"1 products of {rows} row" in text
        assert (before["as"], before["kernel"]) == (floats, f"matmul {floats}") and (after["as"], after["kernel"]) == (told["format"], kernel)
        assert 0 < told["microseconds_before"] == before["microseconds"] < 1e5
        assert 0 < told["microseconds_after"] == after["microseconds"] < 1e5
    # Bytes and recipes do not depend on times that decide nothing.
    assert json.loads(lathe_tool.ok("inspect", out, "--json"))["recipe"]["steps"][0].get("prefer") is None
    told, why, text = layer("--target", "reference")
    assert not TIMES & set(told) and "reference" in why and why in text
    (tmp_path / "recipe.json").write_text(json.dumps({"prefer": "size", "rows": 3, "steps": [{"bits": 8}]}))
    lathe_tool.ok("compile", model, "-o", out, "--recipe", tmp_path / "recipe.json", "--report", report)
    assert json.loads(report.read_text())["compression"]["layers"][0]["rows"] == 3


def test_what_is_slower_stays(lathe_tool, tmp_path):
    """Whatever is faster here: what is told, what was done and the recipe that is kept agree, and it makes the same bytes again."""
    weight = np.random.default_rng(0).normal(size=(512, 512)).astype(np.float32)
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["y"], name="the_matmul")]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 512])] for name in "xy"]
    graph = helper.make_graph(nodes, "larger", *values, [numpy_helper.from_array(weight, "weight")])
    model, out, again, report = (tmp_path / name for name in ("m.onnx", "m.lathe", "again.lathe", "r.json"))
    model.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    lathe_tool.ok("compile", model, "-o", out, "--int8", "--report", report)
    (layer,) = json.loads(report.read_text())["compression"]["layers"]
    before, after = (way["microseconds"] for way in layer["timed"])
    slower = after > 1.1 * before and after > before + 3
    assert ("reason" in layer) == ("format" not in layer) == slower
    assert layer["microseconds_after"] == (before if slower else after)
    inside = json.loads(lathe_tool.ok("inspect", out, "--json"))
    (step,) = inside["recipe"]["steps"]
    assert step["prefer"] == "size" and step["exclude"] == (["weight"] if slower else [])
    assert (inside["weights_bytes"] < 512 * 512 * 2) != slower
    (tmp_path / "recipe.json").write_text(json.dumps(inside["recipe"]))
    lathe_tool.ok("compile", model, "-o", again, "--recipe", tmp_path / "recipe.json")
    assert out.read_bytes() == again.read_bytes()


def test_memory_is_flat(lathe_tool, model, tmp_path):
    """Statistics are streamed: a hundred times the samples take no more memory."""
    peaks = []
    for count in (10, 1000):
        folder = tmp_path / str(count)
        folder.mkdir()
        x = np.random.default_rng(count).normal(size=(512, 64)).astype(np.float32)
        for i in range(count):
            np.savez(folder / f"{i:04}.npz", x=x)
        flags = ("quantize", model, "-o", tmp_path / "m.lathe", "--method", "gptq", "--calib", folder)
        command = [sys.executable, "-c", PEAK, lathe_tool.path, *flags]
        peaks.append(int(subprocess.run(list(map(str, command)), check=True, capture_output=True, text=True).stdout))
    assert peaks[1] < peaks[0] * 1.1 + 4096, peaks


@pytest.mark.parametrize(
    "step, words",
    [
        ({"bits": 6}, ["field 'bits'", "4, 8"]),
        ({"group_size": 48}, ["field 'group_size'", "32, 64"]),
        ({"symmetric": 1}, ["field 'symmetric'", "true or false"]),
        ({"rotate": "yes"}, ["field 'rotate'", "true or false"]),
        ({"method": "gptq"}, ["field of mode 'kv-cache' 'method' is not known", "group_size, symmetric"]),
        ({"bit": 4}, ["'bit' is not known", "did you mean 'bits'"]),
    ],
)
def test_wrong_steps_of_caches(refused, tmp_path, step, words):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"steps": [{"step": "quantize", "mode": "kv-cache", **step}]}))
    refused(words, "--recipe", path, command="compile")


def test_caches_of_what_does_not_generate(refused, lathe_tool, model, tmp_path):
    """A model without a cache, no programs that generate, ONNX, and what is asked for twice."""
    refused(["mode 'kv-cache'", "not a decoder"], "--kv-cache", "int8", command="compile")
    refused(["mode 'kv-cache'", "not a decoder"], "--kv-cache", "int4")
    refused(["mode 'kv-cache'", "were not asked for"], "--kv-cache", "int8", "--generate", "off", command="compile")
    refused(["--kv-cache", "int8,int4"], "--kv-cache", "int2", command="compile")
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"steps": [{"mode": "kv-cache"}]}))
    refused(["--kv-cache", "exclude each other"], "--kv-cache", "int8", "--recipe", path, command="compile")
    result = lathe_tool("quantize", model, "-o", tmp_path / "m.onnx", "--kv-cache", "int8")
    check_failure(result, USAGE, "mode 'kv-cache'", "got ONNX")
    assert not (tmp_path / "m.onnx").exists()


def test_names_of_caches(lathe_tool, onnx_path, tmp_path):
    """Steps cover caches by name; what one has rounded the next ones leave, and inspect counts their bytes."""
    steps = [{"mode": "kv-cache", "tensors": ["keys.*"]}, {"mode": "kv-cache", "bits": 4, "group_size": 0}]
    path, out, report = tmp_path / "recipe.json", tmp_path / "m.lathe", tmp_path / "report.json"
    path.write_text(json.dumps({"steps": steps}))
    lathe_tool.ok("compile", onnx_path("llama_nocache"), "-o", out, "--recipe", path, "--report", report)
    step = next(p for p in json.loads(lathe_tool.ok("inspect", out, "--json"))["programs"] if p["name"] == "step")
    caches = step["caches"]
    assert {(cache["name"].split(".")[0], cache["type"], cache["group"]) for cache in caches} == {("keys", "i8", 0), ("values", "u4", 0)}
    # A scale of two bytes for each head, a lowest value as well, and 16 bytes for up to 32 codes of 4 bits.
    of = {
        "i8": lambda cache: cache["heads"] * (cache["size"] + 2),
        "u4": lambda cache: cache["heads"] * (-(-cache["size"] // 32) * 16 + 4),
    }
    assert step["cache_token_bytes"] == sum(of[cache["type"]](cache) for cache in caches)
    told = json.loads(report.read_text())["compression"]["caches"]
    assert sum(cache["token_bytes_after"] for cache in told) == step["cache_token_bytes"]
    assert sum(cache["token_bytes_before"] for cache in told) == sum(4 * c["heads"] * c["size"] for c in caches)
    path.write_text(json.dumps({"steps": [{"mode": "kv-cache", "tensors": ["key.*"]}]}))
    result = lathe_tool("compile", onnx_path("llama_nocache"), "-o", tmp_path / "other.lathe", "--recipe", path)
    check_failure(result, USAGE, "step 1", "field 'tensors'", "'key.*'", "keys.0")
    assert not (tmp_path / "other.lathe").exists()


def test_caches_and_weights(lathe_tool, onnx_path, tmp_path):
    """--kv-cache alone leaves weights; with a flag of weights, and with --int4, both are quantized."""
    model = onnx_path("llama_nocache")

    def bits(*arguments):
        out = tmp_path / "m.lathe"
        lathe_tool.ok(arguments[0], model, "-o", out, *arguments[1:])
        return [(step["mode"], step.get("bits")) for step in json.loads(lathe_tool.ok("inspect", out, "--json"))["recipe"]["steps"]]

    assert bits("quantize", "--kv-cache", "int8") == [("kv-cache", 8)]
    assert bits("quantize", "--kv-cache", "int8", "--bits", "4") == [("weight-only", 4), ("kv-cache", 8)]
    assert bits("compile", "--int4", "--kv-cache", "int4") == [("weight-only", 4), ("kv-cache", 4)]


def test_perplexity_of_rounded_caches(lathe_tool, onnx_path, tmp_path):
    """Whole windows have no cache: what is rounded is measured by the program that rounds it."""
    tokens, model, found = tmp_path / "tokens.npy", tmp_path / "tokens_alone.onnx", {}
    alone = onnx.load(onnx_path("llama_nocache"))
    graph = alone.graph
    graph.input.remove(next(info for info in graph.input if info.name == "attention_mask"))
    one = helper.make_tensor("one", TensorProto.INT64, [1], [1])
    graph.node.insert(0, helper.make_node("ConstantOfShape", ["tokens_shape"], ["attention_mask"], value=one))
    graph.node.insert(0, helper.make_node("Shape", ["input_ids"], ["tokens_shape"]))
    onnx.save(alone, model)
    np.save(tokens, np.random.default_rng(0).integers(5, 997, 400))
    for kind in ([], ["--kv-cache", "int8"], ["--kv-cache", "int4"]):
        out = tmp_path / "m.lathe"
        lathe_tool.ok("compile", model, "-o", out, *kind)
        report = json.loads(lathe_tool.ok("perplexity", out, "--tokens", tokens, "--context", "100", "--json"))
        found[kind[-1] if kind else "f32"] = report["nll"]
        assert report["program"] == ("step" if kind else "main")
    assert 0 < abs(found["int8"] - found["f32"]) < abs(found["int4"] - found["f32"]) < 0.05
