# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe lowrank and steps of low rank: wrong ones are refused at once with what is right, and the report tells what became of each layer."""
import json

import numpy as np
import onnx
import pytest
from cli_support import check_refused, kill_when
from onnx import TensorProto, helper, numpy_helper


def save(path, *shapes):
    """x[batch, k] times one weight after another, and a relu between them; names w0, w1 and so on."""
    random = np.random.default_rng(0)
    nodes, weights, value = [], [], "x"
    for i, shape in enumerate(shapes):
        weights.append(numpy_helper.from_array(random.normal(size=shape).astype(np.float32), f"w{i}"))
        nodes.append(helper.make_node("MatMul", [value, f"w{i}"], [f"p{i}"], name=f"matmul{i}"))
        nodes.append(helper.make_node("Relu", [f"p{i}"], [value := f"y{i}"]))
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", n])] for name, n in (("x", shapes[0][0]), (value, shapes[-1][1]))]
    graph = helper.make_graph(nodes, "small", *values, weights)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return save(tmp_path_factory.mktemp("lowrank") / "model.onnx", (64, 48), (48, 2), (2, 40))


@pytest.fixture
def refused(lathe_tool, model, tmp_path):
    folder = tmp_path / "out"
    folder.mkdir()

    def run(words, *flags, command="lowrank"):
        check_refused(lathe_tool, command, model, folder, *flags, words=words)

    return run


@pytest.mark.parametrize(
    "flags, words",
    [
        ([], ["step 1", "'rank', 'ratio' and 'energy'", "got none"]),
        (["--rank", "4", "--ratio", "0.5"], ["'rank', 'ratio' and 'energy'", "got several"]),
        (["--ratio", "1.5"], ["field 'ratio'", "above 0 and below 1, got 1.5", "nearest is 0.99"]),
        (["--ratio", "0"], ["field 'ratio'", "got 0", "nearest is 0.01"]),
        (["--energy", "1"], ["field 'energy'", "below 1", "0.99"]),
        (["--rank", "0"], ["field 'rank'", "from 1", "got 0"]),
        (["--rank", "28"], ["field 'rank'", "rank 28", "largest rank that saves bytes is 27, of 'w0', 64 x 48"]),
        (["--rank", "2", "--tensors", "w2"], ["field 'rank'", "largest rank that saves bytes is 1, of 'w2', 2 x 40"]),
        (["--ratio", "0.2", "--method", "svdllm"], ["field 'method'", "did you mean 'svd-llm'"]),
        (["--ratio", "0.2", "--method", "svd-llm"], ["method 'svd-llm'", "--calib"]),
        (["--ratio", "0.2", "--method", "asvd"], ["method 'asvd'", "--calib"]),
        (["--ratio", "0.2", "--allocation", "greedy"], ["field 'allocation'", "uniform, auto"]),
        (["--rank", "4", "--allocation", "auto"], ["field 'allocation'", "'ratio'"]),
        (["--ratio", "0.2", "--tensors", "decoder*"], ["field 'tensors'", "decoder*"]),
        (["--ratio", "0.2", "--residual-bits", "4"], ["field 'ratio'", "'rank' or 'energy'"]),
        (["--ratio", "0.2", "--method", "tucker"], ["method 'tucker'", "convolution", "more than one element"]),
        (["--ratio", "0.2", "--method", "tucker", "--allocation", "auto"], ["field 'allocation'", "'tucker'"]),
        (["--ratio", "0.2", "--method", "cp"], ["method 'cp'", "convolution", "more than one element"]),
        (["--energy", "0.5", "--method", "cp"], ["field 'energy'", "no rank is known"]),
        (["--method", "circulant"], ["'block', 'ratio' and 'energy'", "got none"]),
        (["--method", "circulant", "--rank", "4"], ["field 'rank'", "'circulant', which has 'block'"]),
        (["--method", "circulant", "--block", "15"], ["field 'block': 15 divides both extents of no weight", "nearest that does is 16, of 'w0', 64 x 48"]),
        (["--method", "circulant", "--block", "7", "--tensors", "w2"], ["nearest that does is 2, of 'w2', 2 x 40"]),
        (["--method", "circulant", "--block", "1"], ["field 'block'", "from 2"]),
        (["--method", "kronecker", "--block", "10", "--rank", "1", "--tensors", "w0"], ["field 'block': 10", "nearest that does is 8, of 'w0'"]),
        (["--method", "kronecker", "--rank", "300"], ["field 'rank'", "largest rank that saves bytes is 27, of 'w0', 64 x 48"]),
        (["--method", "tensor-train", "--rank", "300"], ["field 'rank'", "largest rank that saves bytes is 14, of 'w0', 64 x 48"]),
        (["--method", "tensor-train", "--rank", "2", "--cores", "9"], ["field 'cores'", "from 2 to 8"]),
        (["--method", "tensor-train", "--rank", "2", "--block", "8"], ["field 'block'", "'circulant' and 'kronecker'", "'tensor-train'"]),
        (["--rank", "2", "--cores", "3"], ["field 'cores'", "'tensor-train'", "'svd'"]),
        (["--rank", "2", "--seed", "3"], ["field 'seed'", "'cp'"]),
        (["--rank", "4", "--residual-bits", "5"], ["step 2", "field 'bits'"]),
        (["--ratio", "0.2", "--alpha", "3"], ["field 'alpha'", "from 0.0 to 2.0"]),
    ],
)
def test_wrong_flags(refused, flags, words):
    refused(words, *flags)


@pytest.mark.parametrize(
    "steps, words",
    [
        ([{"step": "lowrank", "ratio": "0.2"}], ["field 'ratio'", '"0.2"']),
        ([{"step": "lowrank", "rank": 2.5}], ["field 'rank'", "whole number", "2.5"]),
        ([{"step": "lowrank", "ratio": 0.2, "bits": 4}], ["field 'bits' is one of step 'quantize'", "'lowrank' has step, method"]),
        ([{"step": "lowrank", "ratoi": 0.2}], ["'ratoi' is not known", "did you mean 'ratio'"]),
        ([{"step": "lowrnk", "ratio": 0.2}], ["field 'step'", "did you mean 'lowrank'"]),
        ([{"step": "lowrank", "rank": 4, "residual": True}], ["field 'residual'", "as large as the weight", "'quantize'"]),
        ([{"step": "lowrank", "rank": 4, "residual": True}, {"step": "rotate"}], ["step 1", "field 'residual'"]),
        # Before the step before takes its time.
        ([{"step": "quantize", "tensors": ["w1"]}, {"step": "lowrank", "rank": 28}], ["step 2", "largest rank that saves bytes is 27"]),
    ],
)
def test_wrong_recipes(refused, tmp_path, steps, words):
    path = tmp_path / "recipe.json"
    path.write_text(json.dumps({"version": 1, "steps": steps}))
    refused(words, "--recipe", path, command="compile")


def test_report_and_recipe(lathe_tool, model, tmp_path):
    first, second, report = tmp_path / "a.lathe", tmp_path / "b.lathe", tmp_path / "report.json"
    told = lathe_tool.ok("lowrank", model, "-o", first, "--rank", "3", "--report", report)
    assert "1 of low rank by svd" in told and "'w1' stays as it was" in told
    recipe = json.loads(lathe_tool.ok("inspect", first, "--json"))["recipe"]
    (step,) = recipe["steps"]
    assert step["rank"] == 3 and "ratio" not in step
    (tmp_path / "recipe.json").write_text(json.dumps(recipe))
    lathe_tool.ok("compile", model, "-o", second, "--recipe", tmp_path / "recipe.json")
    assert first.read_bytes() == second.read_bytes()
    compression = json.loads(report.read_text())["compression"]
    done, small, thin = compression["layers"]
    weight = numpy_helper.to_array(onnx.load(model).graph.initializer[0]).astype(np.float64)
    squares = np.linalg.svd(weight, compute_uv=False) ** 2
    assert (done["weight"], done["node"], done["format"], done["rank"]) == ("w0", "matmul0", "rank 3", 3)
    assert done["energy_kept"] == pytest.approx(squares[:3].sum() / squares.sum(), rel=1e-5)
    assert done["snr_db"] == pytest.approx(10 * np.log10(squares.sum() / squares[3:].sum()), abs=1e-3)
    assert done["bytes_after"] == 3 * (64 + 48) * 4 and done["ratio"] == pytest.approx(1 - 3 * 112 / (64 * 48))
    assert "largest rank that saves some is 1" in small["reason"] and "largest rank that saves some is 1" in thin["reason"]
    assert small["bytes_after"] == small["bytes_before"]
    page = tmp_path / "report.html"
    lathe_tool.ok("report", report, "-o", page)
    assert "energy kept" in page.read_text()


def test_energy(lathe_tool, model, tmp_path):
    """The least rank that keeps the energy; where that saves nothing the weight stays, with the reason."""
    report = tmp_path / "report.json"
    weight = numpy_helper.to_array(onnx.load(model).graph.initializer[0]).astype(np.float64)
    squares = np.linalg.svd(weight, compute_uv=False) ** 2
    kept = np.cumsum(squares) / squares.sum()
    lathe_tool.ok("lowrank", model, "-o", tmp_path / "m.lathe", "--energy", "0.5", "--report", report)
    layer = json.loads(report.read_text())["compression"]["layers"][0]
    assert layer["rank"] == int(np.argmax(kept >= 0.5)) + 1 and layer["energy_kept"] == pytest.approx(kept[layer["rank"] - 1], rel=1e-5)
    lathe_tool.ok("lowrank", model, "-o", tmp_path / "m.lathe", "--energy", "0.99", "--report", report)
    layer = json.loads(report.read_text())["compression"]["layers"][0]
    wanted = int(np.argmax(kept >= 0.99)) + 1
    assert f"needs rank {wanted}" in layer["reason"] and "bits" not in layer and layer["bytes_after"] == layer["bytes_before"]


def test_blocks(lathe_tool, tmp_path):
    """The least that save enough; the largest that keep enough; what they keep is that of the means of diagonals."""
    model, report = save(tmp_path / "m.onnx", (64, 96)), tmp_path / "report.json"
    weight = numpy_helper.to_array(onnx.load(model).graph.initializer[0]).astype(np.float64)

    def kept(block):
        blocks = weight.reshape(64 // block, block, 96 // block, block).transpose(0, 2, 1, 3)
        at = (np.arange(block)[:, None] - np.arange(block)) % block
        return sum(block * blocks[..., at == i].mean(axis=-1) ** 2 for i in range(block)).sum() / (weight**2).sum()

    def layer(*flags):
        lathe_tool.ok("lowrank", model, "-o", tmp_path / "m.lathe", "--method", "circulant", *flags, "--report", report)
        return json.loads(report.read_text())["compression"]["layers"][0]

    for flags, block in ((["--block", "16"], 16), (["--ratio", "0.5"], 2), (["--ratio", "0.6"], 4), (["--energy", "0.1"], max(b for b in (2, 4, 8, 16, 32) if kept(b) >= 0.1))):
        found = layer(*flags)
        assert found["format"] == f"circulant blocks of {block}" and found["energy_kept"] == pytest.approx(kept(block), rel=1e-5)
        # Blocks of two take fewer multiplications as the matrix that they are.
        assert found["bytes_after"] == (64 * 96 // 2 if block == 2 else (block // 2 + 1) * 2 * (64 // block) * (96 // block)) * 4
    assert "keep is" in layer("--energy", "0.9")["reason"] and "saves as much" in layer("--ratio", "0.99")["reason"]


@pytest.mark.parametrize("flags", [["kronecker", "--rank", "4"], ["tensor-train", "--rank", "6"], ["circulant", "--block", "4"]], ids=lambda flags: flags[0])
def test_forms_fitted_to_outputs(flags, lathe_tool, tmp_path):
    """With calibration data outputs are nearer to the dense layer's, on other inputs of the kind, too."""
    model, report, out = save(tmp_path / "m.onnx", (64, 96)), tmp_path / "report.json", tmp_path / "m.lathe"
    random = np.random.default_rng(6)
    mix = random.normal(size=(12, 64)) * 0.5 ** (np.arange(12)[:, None] / 4)
    np.savez(tmp_path / "calib.npz", x=(random.normal(size=(200, 12)) @ mix).astype(np.float32))
    x = (random.normal(size=(50, 12)) @ mix).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    expected, errors = np.maximum(x @ numpy_helper.to_array(onnx.load(model).graph.initializer[0]), 0), []
    for data in ([], ["--calib", tmp_path / "calib.npz"]):
        lathe_tool.ok("lowrank", model, "-o", out, "--method", *flags, *data, "--report", report)
        (layer,) = json.loads(report.read_text())["compression"]["layers"]
        assert layer["method"] == flags[0] + (", refitted" if data else "") and layer["error_of"] == ("output" if data else "weight")
        lathe_tool.ok("run", out, "--inputs", tmp_path / "x.npz", "--outputs", tmp_path / "y.npz")
        errors.append(((np.load(tmp_path / "y.npz")["y0"] - expected) ** 2).sum())
    assert 0 < errors[1] < 0.95 * errors[0]


def test_automatic_ranks(lathe_tool, tmp_path):
    """All weights together have what is left of them, and one that falls fast pays for one that does not."""
    random = np.random.default_rng(1)
    q, _ = np.linalg.qr(random.normal(size=(64, 64)))
    path = save(tmp_path / "m.onnx", (64, 64), (64, 64))
    model = onnx.load(path)
    for tensor, fall in zip(model.graph.initializer, (0.7, 1)):
        tensor.CopyFrom(numpy_helper.from_array((q * fall ** np.arange(64) @ q.T).astype(np.float32), tensor.name))
    onnx.save(model, path)
    report = tmp_path / "report.json"
    lathe_tool.ok("lowrank", path, "-o", tmp_path / "m.lathe", "--ratio", "0.4", "--allocation", "auto", "--report", report)
    compression = json.loads(report.read_text())["compression"]
    fast, flat = compression["layers"]
    assert 6 <= fast["rank"] < 32 and "at less loss" in flat["reason"]
    assert compression["bytes_after"] <= 0.6 * compression["bytes_before"]


def test_combined_steps(lathe_tool, tmp_path):
    """Factors are layers for the steps behind; the total counts the weight once."""
    model = save(tmp_path / "m.onnx", (64, 96), (96, 64))
    recipe, report = tmp_path / "recipe.json", tmp_path / "report.json"
    steps = [
        {"step": "lowrank", "rank": 16, "tensors": ["w0"]},
        {"step": "quantize", "bits": 4, "group_size": 16, "tensors": ["w0.*"]},
        {"step": "quantize", "bits": 8, "tensors": ["matmul1"]},
    ]
    recipe.write_text(json.dumps({"steps": steps}))
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", "--recipe", recipe, "--report", report)
    compression = json.loads(report.read_text())["compression"]
    layers = {layer["weight"]: layer for layer in compression["layers"]}
    assert list(layers) == ["w0", "w0.u", "w0.v", "w1"]
    assert layers["w0"]["bytes_after"] == layers["w0.u"]["bytes_before"] + layers["w0.v"]["bytes_before"]
    assert layers["w0.u"]["node"] == "matmul0" and layers["w0.u"]["format"].startswith("int4")
    assert compression["bytes_before"] == 2 * 64 * 96 * 4
    assert compression["bytes_after"] == sum(layers[name]["bytes_after"] for name in ("w0.u", "w0.v", "w1"))


def test_residual(lathe_tool, tmp_path):
    """Factors with what they leave in few bits are nearer to the weight than these bits alone, and the total counts all three."""
    model, report = save(tmp_path / "m.onnx", (128, 96)), tmp_path / "report.json"
    source = onnx.load(model)
    weight = numpy_helper.to_array(source.graph.initializer[0]).copy()
    weight += 8 * np.outer(np.sin(np.arange(128)), np.cos(np.arange(96))).astype(np.float32)
    source.graph.initializer[0].CopyFrom(numpy_helper.from_array(weight, "w0"))
    onnx.save(source, model)
    lathe_tool.ok("lowrank", model, "-o", tmp_path / "l.onnx", "--rank", "2", "--residual-bits", "4", "--report", report)
    compression = json.loads(report.read_text())["compression"]
    layers = {layer["weight"]: layer for layer in compression["layers"]}
    assert list(layers) == ["w0", "w0.r"] and layers["w0"]["rank"] == 2
    factors = 2 * (128 + 96) * 4
    assert compression["bytes_before"] == weight.nbytes
    assert compression["bytes_after"] == factors + layers["w0.r"]["bytes_after"] < weight.nbytes / 4
    lathe_tool.ok("quantize", model, "-o", tmp_path / "q.onnx", "--bits", "4", "--group-size", "32")
    x = np.random.default_rng(5).normal(size=(7, 128)).astype(np.float32)
    expected, errors = np.maximum(x @ weight, 0), {}
    for name in ("l", "q"):
        lathe_tool.ok("compile", tmp_path / f"{name}.onnx", "-o", tmp_path / "m.lathe")
        np.savez(tmp_path / "x.npz", x=x)
        lathe_tool.ok("run", tmp_path / "m.lathe", "--inputs", tmp_path / "x.npz", "--outputs", tmp_path / "y.npz")
        errors[name] = np.abs(np.load(tmp_path / "y.npz")["y0"] - expected).max()
    assert 0 < errors["l"] < 0.5 * errors["q"]


def test_times(lathe_tool, tmp_path):
    """Both ways are timed for a report; what is slower where speed is preferred stays, and the recipe that is kept says so."""
    model, report, out = save(tmp_path / "m.onnx", (512, 512), (512, 512)), tmp_path / "report.json", tmp_path / "m.lathe"
    lathe_tool.ok("lowrank", model, "-o", out, "--rank", "255", "--prefer", "speed", "--report", report)
    layers = json.loads(report.read_text())["compression"]["layers"]
    assert len(layers) == 2
    for layer in layers:
        assert [way["as"] for way in layer["timed"]] == ["f32", "factors"] and layer["rows"] == 128
        before, after = (way["microseconds"] for way in layer["timed"])
        assert before > 0 and after > 0
        isLeft = after > 1.1 * before and after - before > 3
        assert ("rank" not in layer) == isLeft and ("slower" in layer.get("reason", "")) == isLeft
    (step,) = json.loads(lathe_tool.ok("inspect", out, "--json"))["recipe"]["steps"]
    assert step["prefer"] == "size" and step["exclude"] == [layer["weight"] for layer in layers if "rank" not in layer]


def kill_with_parts(command, out, parts):
    """Kills a command when so many parts of it are kept; the folder they are in."""
    folder = out.with_name(out.name + ".resume")
    kill_when(command, lambda: len(list(folder.glob("*.part"))) >= parts, out)
    return folder


def test_a_run_that_was_killed(lathe_tool, tmp_path):
    """What is finished is taken over, and the result is the same."""
    shape = (512, 512)
    model = save(tmp_path / "m.onnx", *[shape] * 12)
    whole, out = tmp_path / "whole.lathe", tmp_path / "m.lathe"
    flags = ["--ratio", "0.5", "--allocation", "auto"]
    lathe_tool.ok("lowrank", model, "-o", whole, *flags)
    folder = kill_with_parts([lathe_tool.path, "lowrank", model, "-o", out, *flags], out, 14)
    told = lathe_tool("lowrank", model, "-o", out, *flags)
    assert told.returncode == 0 and "of 12 layers of an interrupted run" in told.stderr and "reusing 0 of" not in told.stderr
    assert out.read_bytes() == whole.read_bytes() and not folder.exists()


def save_convolutions(path, count, channels):
    """x[batch, channels, height, width] through convolutions of 3 x 3, named w0, w1 and so on."""
    random = np.random.default_rng(0)
    weights = [numpy_helper.from_array(random.normal(size=(channels, channels, 3, 3)).astype(np.float32), f"w{i}") for i in range(count)]
    nodes = [helper.make_node("Conv", [f"y{i - 1}" if i else "x", f"w{i}"], [f"y{i}"], name=f"conv{i}", pads=[1] * 4) for i in range(count)]
    values = [[helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", channels, "height", "width"])] for name in ("x", f"y{count - 1}")]
    graph = helper.make_graph(nodes, "convolutions", *values, weights)
    path.write_bytes(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString())
    return path


@pytest.mark.parametrize("method", ["tucker", "cp", "tensor-train"])
def test_times_of_convolutions(method, lathe_tool, tmp_path):
    """As they are and in parts, over as many places as one image has."""
    model, report, out = save_convolutions(tmp_path / "m.onnx", 2, 48), tmp_path / "report.json", tmp_path / "m.lathe"
    lathe_tool.ok("lowrank", model, "-o", out, "--method", method, "--ratio", "0.8", "--prefer", "speed", "--rows", "9", "--report", report)
    layers = json.loads(report.read_text())["compression"]["layers"]
    assert len(layers) == 2
    for layer in layers:
        assert [way["as"] for way in layer["timed"]] == ["f32", method] and layer["rows"] == 81
        before, after = (way["microseconds"] for way in layer["timed"])
        assert before > 0 and after > 0
        assert ("rank" not in layer) == ("slower" in layer.get("reason", ""))


@pytest.mark.parametrize("method", ["tucker", "cp", "kronecker", "circulant"])
def test_forms_of_a_run_that_was_killed(method, lathe_tool, tmp_path):
    """What is finished is taken over, and the result is the same."""
    model, whole, out = save_convolutions(tmp_path / "m.onnx", 10, 64), tmp_path / "whole.lathe", tmp_path / "m.lathe"
    flags = ["--method", method, "--ratio", "0.7"]
    lathe_tool.ok("lowrank", model, "-o", whole, *flags)
    folder = kill_with_parts([lathe_tool.path, "lowrank", model, "-o", out, *flags], out, 2)
    told = lathe_tool("lowrank", model, "-o", out, *flags)
    assert told.returncode == 0 and "of 10 layers of an interrupted run" in told.stderr and "reusing 0 of" not in told.stderr
    assert out.read_bytes() == whole.read_bytes() and not folder.exists()
