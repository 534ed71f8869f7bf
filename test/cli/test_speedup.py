# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Speed as a budget: --target-speedup, and times of alternatives in steps `choose`."""
import json

import numpy as np
import onnx
import pytest
from cli_support import USAGE, check_failure, measured_again, processor_seconds, save_residual
from onnx import TensorProto, helper, numpy_helper

LAYERS, WIDTH, ROWS = 4, 512, 128
DENSE = 4 * LAYERS * WIDTH * WIDTH
INT8 = {"step": "quantize", "mode": "dynamic"}
CODES = {"step": "quantize", "bits": 4, "group_size": 32}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Layers that take some time."""
    return save_residual(tmp_path_factory.mktemp("speed"), LAYERS, WIDTH, [ROWS, ROWS])


@pytest.fixture
def run(lathe_tool, folder, tmp_path):
    """run(step, *flags): the result of `optimize` with a recipe of one step `choose`, and its report."""

    def optimize(step, *flags, output="m.lathe"):
        (tmp_path / "recipe.json").write_text(json.dumps({"steps": [{"step": "choose", **step}]}))
        report = tmp_path / "report.json"
        result = lathe_tool("optimize", folder / "model.onnx", "-o", tmp_path / output, "--recipe", tmp_path / "recipe.json", "--calib", folder / "samples", "--report", report, *flags)
        return result, json.loads(report.read_text())["compression"] if report.exists() else None

    return optimize


@measured_again
def test_target_speedup(run, tmp_path):
    result, report = run({"from": [INT8]}, "--target-speedup", "1.2")
    assert result.returncode == 0, result.stderr
    choice = report["choices"][0]
    assert choice["target_speedup"] == 1.2
    assert choice["products_microseconds_before"] >= 1.2 * choice["products_microseconds_after"] > 0
    assert choice["model_microseconds_before"] >= 0.97 * 1.2 * choice["model_microseconds_after"] > 0
    for layer in choice["layers"]:
        dense, codes = layer["alternatives"]
        assert dense["microseconds"] > codes["microseconds"] > 0 and "int8" in codes["kernel"]
    # Layers that matter least are made faster first.
    losses = {layer["weight"]: layer["alternatives"][1]["loss"] for layer in choice["layers"]}
    chosen = [name for layer in choice["layers"] if (name := layer["weight"]) and layer["chosen"] != "as it was"]
    assert chosen and chosen == sorted(losses, key=losses.get)[: len(chosen)][::-1]
    # Times of what was chosen are those by which it was.
    for layer in report["layers"]:
        own = next(other for other in choice["layers"] if other["weight"] == layer["weight"])
        assert [way["microseconds"] for way in layer["timed"]] == [other["microseconds"] for other in own["alternatives"]]
    assert "times as fast on the calibration data" in result.stdout
    assert [step["prefer"] for step in report["recipe"]["steps"]] == ["size"]


@measured_again
def test_speed_and_size(run):
    """Codes of 4 bits are smaller, those of 8 with rounded rows faster: both budgets together need both."""
    result, report = run({"from": [INT8, CODES]}, "--target-speedup", "1.1", "--target-size", "0.5")
    assert result.returncode == 0, result.stderr
    choice = report["choices"][0]
    assert choice["products_microseconds_before"] >= 1.1 * choice["products_microseconds_after"]
    assert choice["weights_bytes_after"] <= 0.5 * DENSE


def test_speed_that_is_out_of_reach(run, tmp_path):
    result, _ = run({"from": [INT8], "target_speedup": 90})
    check_failure(result, USAGE, "field 'target_speedup'", "90 can't be reached", "at most", "times as fast")
    assert not (tmp_path / "m.lathe").exists()
    result, _ = run({"from": [INT8], "target_speedup": 1.3, "max_drop": 1e-9})
    check_failure(result, USAGE, "'target_speedup' and 'max_drop' exclude each other", "products are at most 1 times as fast")


def test_refused_at_once(run, tmp_path):
    for step, flags, words in (
        ({"target_speedup": 0.5}, (), ["field 'target_speedup'", "from 1"]),
        ({"target_speedup": 2}, ("--target", "reference"), ["field 'target_speedup'", "nothing can be timed", "reference"]),
        ({}, ("--target-speedup", "fast"), ["--target-speedup expects a factor", "'fast'"]),
    ):
        begin = processor_seconds()
        check_failure(run(step, *flags)[0], USAGE, *words)
        assert processor_seconds() - begin < 2
    check_failure(run({"target_speedup": 2}, output="m.onnx")[0], USAGE, "field 'target_speedup'", "expects a .lathe file")


def test_slower_alternatives_are_none(run):
    """With speed preferred what makes a product slower is no choice, whatever it saves."""
    result, report = run({"from": [INT8, {"step": "lowrank", "rank": 250}], "target_size": 0.9}, "--prefer", "speed")
    assert result.returncode == 0, result.stderr
    for layer in report["choices"][0]["layers"]:
        times = [other["microseconds"] for other in layer["alternatives"]]
        assert all(own <= 1.1 * times[0] + 3 for own in times[1:])


@measured_again
def test_times_of_parts_that_go(lathe_tool, tmp_path):
    """Products of what loses parts are timed before and after, and with speed preferred the recipe says what was decided."""
    values, hidden = np.random.default_rng(0), 2048
    weights = [numpy_helper.from_array(values.standard_normal(shape, np.float32), name) for name, shape in (("up", (WIDTH, hidden)), ("down", (hidden, WIDTH)))]
    nodes = [helper.make_node("MatMul", ["x", "up"], ["u"]), helper.make_node("Relu", ["u"], ["h"]), helper.make_node("MatMul", ["h", "down"], ["y"])]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "block", infos[:1], infos[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "block.onnx")
    for flags in ((), ("--prefer", "speed")):
        words = ["prune", tmp_path / "block.onnx", "-o", tmp_path / "p.lathe", "--pattern", "neurons", "--sparsity", "0.75", "--report", tmp_path / "r.json", *flags]
        lathe_tool.ok(*words)
        report = json.loads((tmp_path / "r.json").read_text())["compression"]
        (part,) = [own for own in report["structured"] if own["removed"]]
        assert part["before"] == 2048 and part["after"] == 512 and part["rows"] == ROWS
        assert part["microseconds_before"] > 1.5 * part["microseconds_after"] > 0
        assert "not_timed" not in report
    assert report["recipe"]["steps"][0]["prefer"] == "size" and report["recipe"]["steps"][0]["exclude"] == []
    # Without a report or such a preference nothing depends on times.
    lathe_tool.ok("prune", tmp_path / "block.onnx", "-o", tmp_path / "p.lathe", "--pattern", "neurons")
