# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Formats that are chosen for each layer within a budget: lathe optimize, budgets of lathe quantize, steps `choose` of recipes."""
import json

import numpy as np
import onnx
import pytest
from cli_support import check_refused, kill_when, save_residual

LAYERS, WIDTH = 6, 64
DENSE = 4 * LAYERS * WIDTH * WIDTH


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return save_residual(tmp_path_factory.mktemp("optimize"), LAYERS, WIDTH, [5, 8, 11, 14], brackets="[*]")


@pytest.fixture
def optimize(lathe_tool, folder, tmp_path):
    """optimize(*flags): what the report tells of compression."""

    def run(*flags, output=tmp_path / "m.lathe", command="optimize"):
        report = tmp_path / "report.json"
        lathe_tool.ok(command, folder / "model.onnx", "-o", output, "--calib", folder / "samples", "--report", report, *flags)
        return json.loads(report.read_text())["compression"]

    return run


def write_recipe(path, **step):
    path.write_text(json.dumps({"steps": [{"step": "choose", **step}]}))
    return path


def bits(report):
    """Of each layer's weights, 32 for one that stays."""
    formats = [layer["chosen"] for layer in report["choices"][0]["layers"]]
    return [32 if name == "as it was" else int(name.removeprefix("int")[0]) for name in formats]


def test_target_size(optimize, lathe_tool, folder, tmp_path):
    report = optimize("--target-size", "0.15")
    choice = report["choices"][0]
    assert choice["weights_bytes_before"] == DENSE
    assert choice["weights_bytes_after"] <= 0.15 * DENSE == pytest.approx(choice["target_bytes"], abs=1)
    assert choice["weights_bytes_after"] > 0.12 * DENSE  # what there is of the budget is used
    assert choice["weights_bytes_after"] == sum(layer["bytes_after"] for layer in report["layers"])
    # What is added first and largest is worth most bits.
    chosen = bits(report)
    assert chosen[0] > chosen[-1] and chosen == sorted(chosen, reverse=True)
    assert choice["complete"] and choice["samples"] == 4
    for layer in choice["layers"]:
        losses = {other["format"].split(" by ")[0]: other["loss"] for other in layer["alternatives"]}
        assert losses["as it was"] == 0 < losses["int8 f16 scales"] < losses["int4 g32 f16 scales"]
        assert losses["int4 g32 f16 scales"] < losses["int3 g32 f16 scales"] < losses["int2 g32 f16 scales"]
    # The drop is that of the artifact, on the samples.
    lathe_tool.ok("compile", folder / "model.onnx", "-o", tmp_path / "dense.lathe")
    error = energy = 0
    for sample in sorted((folder / "samples").iterdir()):
        outputs = []
        for name in ("dense", "m"):
            lathe_tool.ok("run", tmp_path / f"{name}.lathe", "--inputs", sample, "--outputs", tmp_path / "out.npz")
            outputs.append(np.load(tmp_path / "out.npz")[f"x{LAYERS}"].astype(np.float64))
        error += ((outputs[1] - outputs[0]) ** 2).sum()
        energy += (outputs[0] ** 2).sum()
    assert report["quality"] == "relative_error"
    assert report["drop"] == pytest.approx((error / energy) ** 0.5, rel=1e-3)
    # The curve falls, and has the size that was chosen.
    curve = choice["curve"]
    assert [point["bytes"] for point in curve] == sorted((point["bytes"] for point in curve), reverse=True)
    assert [point["bytes"] for point in curve if point["chosen"]] == [choice["weights_bytes_after"]]


def test_recipe_repeats_what_was_chosen(optimize, lathe_tool, folder, tmp_path):
    report = optimize("--target-size", "0.2")
    recipe = json.loads(lathe_tool.ok("inspect", tmp_path / "m.lathe", "--json"))["recipe"]
    assert recipe == report["recipe"]
    assert {step["step"] for step in recipe["steps"]} == {"quantize"} and len(recipe["steps"]) > 1
    (tmp_path / "again.json").write_text(json.dumps(recipe, separators=(",", ":")))
    lathe_tool.ok("compile", folder / "model.onnx", "-o", tmp_path / "again.lathe", "--recipe", tmp_path / "again.json", "--calib", folder / "samples")
    assert (tmp_path / "again.lathe").read_bytes() == (tmp_path / "m.lathe").read_bytes()


def test_max_drop(optimize):
    reports = [optimize("--max-drop", limit) for limit in ("0.001", "1%", "0.1")]
    for report, limit in zip(reports, (0.001, 0.01, 0.1)):
        assert 0 < report["drop"] <= limit
    sizes = [report["choices"][0]["weights_bytes_after"] for report in reports]
    assert sizes[0] > sizes[1] > sizes[2]
    assert optimize("--max-drop", "0")["choices"][0]["weights_bytes_after"] == DENSE


def test_chosen_is_better_than_uniform(optimize, tmp_path):
    """As many bytes as 3 bits for all take."""
    uniform = {"step": "quantize", "bits": 3, "group_size": 32, "method": "gptq"}
    recipe = write_recipe(tmp_path / "uniform.json", **{"from": [uniform], "target_size": 0.01 + 3.5 / 32})
    plain = optimize("--recipe", recipe)
    assert set(bits(plain)) == {3}
    mixed = optimize("--target-size", str(plain["choices"][0]["weights_bytes_after"]))
    assert mixed["choices"][0]["weights_bytes_after"] <= plain["choices"][0]["weights_bytes_after"]
    assert mixed["drop"] < 0.7 * plain["drop"]


def test_quantize_with_budget(optimize):
    report = optimize("--target-size", "0.4", "--method", "rtn", "--exclude", "product0", command="quantize")
    assert [layer["weight"] for layer in report["choices"][0]["layers"]] == [f"w{i}[*]" for i in range(1, LAYERS)]
    assert {layer["method"] for layer in report["layers"]} == {"rtn"}


def test_onnx(optimize, tmp_path):
    report = optimize("--target-size", "0.2", output=tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert report["choices"][0]["weights_bytes_after"] <= 0.2 * DENSE


def test_alternatives_are_any_steps(optimize, tmp_path):
    """Activations that are rounded are no weights, and take a compiled model each."""
    alternatives = [{"step": "quantize", "mode": "dynamic"}, [{"step": "quantize", "bits": 4, "group_size": 32, "method": "awq"}]]
    recipe = write_recipe(tmp_path / "any.json", **{"from": alternatives, "target_size": 0.2, "tensors": ["w[0-3]*"]})
    report = optimize("--recipe", recipe, "--target-size", "60%")
    choice = report["choices"][0]
    assert len(choice["layers"]) == 4 and choice["weights_bytes_after"] <= 0.6 * DENSE
    for layer in choice["layers"]:
        assert len(layer["alternatives"]) == 3
        assert all(other["loss"] > 0 for other in layer["alternatives"][1:])
    assert "activations by token" in choice["layers"][0]["alternatives"][1]["format"]


def test_forms(optimize, lathe_tool, folder, tmp_path):
    """Trains and circulant blocks are one value each while they are tried, and what is kept does as the whole does."""
    train = {"step": "lowrank", "method": "tensor-train", "ratio": 0.9, "cores": 2}
    alternatives = [{"step": "lowrank", "method": "kronecker", "ratio": 0.6}, {"step": "lowrank", "method": "circulant", "block": 4},
                    [train, {"step": "quantize", "bits": 8}]]
    recipe = write_recipe(tmp_path / "forms.json", **{"from": alternatives, "target_size": 0.35})
    report = optimize("--recipe", recipe)
    choice = report["choices"][0]
    kept = sum(layer["chosen"] == "as it was" for layer in choice["layers"])
    assert choice["weights_bytes_after"] <= 0.35 * DENSE and report["bytes_after"] == choice["weights_bytes_after"] - kept * DENSE / LAYERS
    for layer in choice["layers"]:
        assert len(layer["alternatives"]) == 4 and all(other["loss"] > 0 for other in layer["alternatives"][1:])
        assert "Kronecker" in layer["alternatives"][1]["format"] and "circulant" in layer["alternatives"][2]["format"]


def test_factors_and_their_codes(optimize, lathe_tool, folder, tmp_path):
    """Steps after one that puts factors in a layer's place are of the factors."""
    factors = {"step": "lowrank", "method": "svd-llm", "ratio": 0.6}
    alternatives = [factors, [factors, {"step": "quantize", "bits": 8}], {"step": "quantize", "bits": 4, "group_size": 32}]
    recipe = write_recipe(tmp_path / "factors.json", **{"from": alternatives, "target_size": 0.13})
    report = optimize("--recipe", recipe)
    choice = report["choices"][0]
    assert choice["weights_bytes_after"] <= 0.13 * DENSE and report["bytes_after"] == choice["weights_bytes_after"]
    for layer in choice["layers"]:
        plain, coded = layer["alternatives"][1:3]
        assert plain["bytes"] == pytest.approx(0.4 * DENSE / LAYERS, rel=0.1) and plain["bytes"] / 4 < coded["bytes"] < plain["bytes"] / 3
        assert coded["loss"] == pytest.approx(plain["loss"], rel=0.1)
    # Some layers have to be smaller than 4 bits are.
    assert any("rank" in layer["chosen"] and "int8" in layer["chosen"] for layer in choice["layers"])
    (tmp_path / "again.json").write_text(json.dumps(report["recipe"]))
    lathe_tool.ok("compile", folder / "model.onnx", "-o", tmp_path / "again.lathe", "--recipe", tmp_path / "again.json", "--calib", folder / "samples")
    assert (tmp_path / "again.lathe").stat().st_size == (tmp_path / "m.lathe").stat().st_size


def test_zeros_and_codes(optimize, tmp_path):
    alternatives = [[{"step": "prune", "method": "wanda", "sparsity": 0.5}, {"step": "quantize", "bits": 4, "group_size": 32}], {"step": "quantize", "bits": 8}]
    recipe = write_recipe(tmp_path / "zeros.json", **{"from": alternatives, "target_size": 0.2})
    report = optimize("--recipe", recipe)
    assert report["choices"][0]["weights_bytes_after"] <= 0.2 * DENSE
    for layer in report["choices"][0]["layers"]:
        assert layer["alternatives"][1]["format"].startswith("50 % zeros") and "int4" in layer["alternatives"][1]["format"]
        assert layer["alternatives"][1]["loss"] > layer["alternatives"][2]["loss"]


def test_stored_without_zeros(optimize, tmp_path):
    """Zeros save bytes where they are not stored, which a step after the pruning says."""
    zeros = {"step": "prune", "method": "wanda", "pattern": "2:4"}
    stored = {"step": "sparsify", "prefer": "size"}
    alternatives = [zeros, [zeros, stored], [zeros, {"step": "quantize", "bits": 8}, stored]]
    recipe = write_recipe(tmp_path / "stored.json", **{"from": alternatives, "target_size": 0.4})
    report = optimize("--recipe", recipe)
    choice = report["choices"][0]
    assert choice["weights_bytes_after"] <= 0.4 * DENSE
    for layer in choice["layers"]:
        # Zeros alone are no choice: they save nothing.
        sizes = [other["bytes"] for other in layer["alternatives"]]
        assert len(sizes) == 3 and sizes[1] < 0.65 * sizes[0] and sizes[2] < 0.3 * sizes[0]
        assert "stored as" in layer["alternatives"][1]["format"]


def test_other_steps_beside(optimize, tmp_path):
    """What a step before has compressed is no layer any more."""
    steps = [{"step": "quantize", "tensors": ["w1*"]}, {"step": "choose", "target_size": 0.3}]
    (tmp_path / "two.json").write_text(json.dumps({"steps": steps}))
    report = optimize("--recipe", tmp_path / "two.json")
    assert len(report["choices"][0]["layers"]) == LAYERS - 1 and len(report["layers"]) == LAYERS
    assert report["recipe"]["steps"][0]["bits"] == 8


def test_time_budget(optimize):
    report = optimize("--target-size", "0.15", "--time-budget", "0s")
    choice = report["choices"][0]
    assert not choice["complete"] and choice["weights_bytes_after"] <= 0.15 * DENSE
    assert any(other.get("estimated") for layer in choice["layers"] for other in layer["alternatives"])
    assert report["drop"] > 0  # of the whole it is measured


@pytest.fixture
def refused(lathe_tool, folder, tmp_path):
    """refused(words, *flags): exit code 2 within two seconds, and no file."""
    out = tmp_path / "out"
    out.mkdir()

    def run(words, *flags, command="optimize", calibration=("--calib", folder / "samples"), limit=2):
        check_refused(lathe_tool, command, folder / "model.onnx", out, *calibration, *flags, words=words, seconds=limit)

    return run


def test_wrong_flags(refused):
    refused(["expects a budget", "--target-size, --target-speedup or --max-drop"])
    for text in ("0", "-1", "big", "120%", "1 %"):
        refused(["--target-size expects a size", f"'{text}'"], "--target-size=" + text)
    refused(["--max-drop expects", "'lots'"], "--max-drop", "lots")
    refused(["--time-budget expects", "'10y'"], "--target-size", "0.5", "--time-budget", "10y")
    refused(["needs calibration data", "--calib"], "--target-size", "0.5", calibration=())
    refused(["--bits", "exclude each other"], "--target-size", "0.5", "--bits", "4", command="quantize")
    refused(["'choose' of a recipe"], "--target-size", "0.5", "--mode", "codebook", command="quantize")
    refused(["--time-budget goes with"], "--time-budget", "5", command="quantize")


@pytest.mark.parametrize(
    "step, words",
    [
        ({}, ["step 1", "expects a budget", "'target_size', 'target_speedup' or 'max_drop'"]),
        ({"target_size": 0}, ["field 'target_size'", "got 0"]),
        ({"target_size": "many"}, ["field 'target_size'", "25MiB", '"many"']),
        ({"max_drop": -1}, ["field 'max_drop'", "from 0"]),
        ({"max_drop": 0.1, "samples": 0}, ["field 'samples'", "from 1"]),
        ({"max_drop": 0.1, "from": []}, ["field 'from'", "list of steps"]),
        ({"max_drop": 0.1, "from": [[]]}, ["field 'from'", "alternative 1", "empty"]),
        ({"max_drop": 0.1, "from": [{}, {"bitts": 4}]}, ["alternative 2", "field 'bitts'", "did you mean 'bits'"]),
        ({"max_drop": 0.1, "from": [{"tensors": ["*"]}]}, ["alternative 1", "field 'tensors'", "beside 'from'"]),
        ({"max_drop": 0.1, "from": [{"step": "choose", "max_drop": 1}]}, ["alternative 1", "'choose' is not of single layers"]),
        ({"max_drop": 0.1, "from": [{"step": "rotate"}]}, ["alternative 1", "'rotate' is not of single layers"]),
        ({"max_drop": 0.1, "from": [{"step": "prune", "pattern": "layers", "sparsity": 0.5}]}, ["alternative 1", "'layers'", "not of single layers"]),
        ({"max_drop": 0.1, "from": [{"mode": "kv-cache", "bits": 4}]}, ["alternative 1", "kv-cache"]),
        ({"max_drop": 0.1, "tensors": ["decoder*"]}, ["field 'tensors'", "decoder*"]),
        ({"max_drop": 0.1, "bits": 4}, ["field 'bits' is one of step 'quantize'", "'choose' has step, from"]),
    ],
)
def test_wrong_recipes(refused, tmp_path, step, words):
    refused(words, "--recipe", write_recipe(tmp_path / "wrong.json", **step))


def test_recipe_without_choice(refused, tmp_path):
    (tmp_path / "plain.json").write_text('{"steps": [{"bits": 8}]}')
    refused(["steps 'choose'", "none of"], "--recipe", tmp_path / "plain.json", "--target-size", "0.5")


def test_budgets_that_cannot_be_met(refused):
    refused(["field 'target_size'", "can't be reached", "at least 0.0069 MB of 0.0983 MB"], "--target-size", "0.01", limit=60)
    refused(["exclude each other", "smallest size"], "--target-size", "0.1", "--max-drop", "0.0001", limit=60)


def test_killed_run_is_taken_over(lathe_tool, folder, tmp_path):
    output = tmp_path / "m.lathe"
    words = ["optimize", folder / "model.onnx", "-o", output, "--calib", folder / "samples", "--target-size", "0.2"]
    lathe_tool.ok(*words)
    whole = output.read_bytes()
    output.unlink()
    resume = tmp_path / "m.lathe.resume"
    # One of calibration, those of alternatives, then losses of samples.
    kill_when([lathe_tool.path, *words], lambda: len(list(resume.glob("*.part"))) >= 4 * LAYERS + 2, output)
    result = lathe_tool(*words)
    # One line, not one for each alternative.
    assert result.returncode == 0 and "finished parts of an interrupted run" in result.stderr, result.stderr
    assert result.stderr.count("reusing") == 1, result.stderr
    assert output.read_bytes() == whole and [path.name for path in tmp_path.iterdir()] == ["m.lathe"]
