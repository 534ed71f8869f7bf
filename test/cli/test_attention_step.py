# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Attention of integers: a step of recipes, which pays or is reverted."""
import json
import re

import numpy as np
import pytest
from cli_support import USAGE, check_failure, save
from onnx import helper, numpy_helper

import lathe

KEYS = 200


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Two attentions of 2 heads of 24 columns, one behind the other, and a product."""
    weight = np.random.default_rng(0).normal(size=(24, 24)).astype(np.float32)
    nodes = []
    for layer, query in enumerate(("q", "mixed_0")):
        nodes += [
            helper.make_node("Transpose", ["k"], [f"t_{layer}"], name=f"/{layer}/turn", perm=[0, 1, 3, 2]),
            helper.make_node("MatMul", [query, f"t_{layer}"], [f"scores_{layer}"], name=f"/{layer}/scores"),
            helper.make_node("Mul", [f"scores_{layer}", "scale"], [f"scaled_{layer}"], name=f"/{layer}/scale"),
            helper.make_node("Softmax", [f"scaled_{layer}"], [f"weights_{layer}"], name=f"/{layer}/softmax", axis=-1),
            helper.make_node("MatMul", [f"weights_{layer}", "v"], [f"mixed_{layer}"], name=f"/{layer}/mix"),
        ]
    nodes.append(helper.make_node("MatMul", ["mixed_1", "weight"], ["y"], name="/out"))
    inputs = [(name, ["batch", 2, axis, 24]) for name, axis in (("q", "s"), ("k", "t"), ("v", "t"))]
    constants = [numpy_helper.from_array(np.float32(0.2), "scale"), numpy_helper.from_array(weight, "weight")]
    return save(tmp_path_factory.mktemp("attention") / "m.onnx", nodes, inputs, [("y", ["batch", 2, "s", 24])], constants)


@pytest.fixture
def compress(lathe_tool, model, tmp_path):
    """compress(step, *flags): the report of a recipe of one step of attentions, and the artifact."""

    def run(step, *flags):
        recipe, report = tmp_path / "recipe.json", tmp_path / "report.json"
        recipe.write_text(json.dumps({"steps": [{"step": "quantize", "mode": "attention", **step}]}))
        out = tmp_path / "m.lathe"
        printed = lathe_tool.ok("compile", model, "-o", out, "--recipe", recipe, "--report", report, *flags)
        return json.loads(report.read_text()), out, printed

    return run


def inputs(queries, keys, batch=2):
    random = np.random.default_rng([queries, keys])
    shapes = {"q": queries, "k": keys, "v": keys}
    return {name: random.normal(size=(batch, 2, extent, 24)).astype(np.float32) for name, extent in shapes.items()}


def test_rounds_what_it_covers(compress, lathe_tool, model, tmp_path):
    report, out, printed = compress({"prefer": "size", "tensors": ["/1/*"]}, "--rows", "160")
    told = report["compression"]["layers"]
    assert [(entry["node"].split("/")[1], entry["format"]) for entry in told] == [("1", "int8")]
    assert told[0].items() >= {"kind": "attention", "rows": 160, "inputs": 24, "outputs": 160}.items()
    assert [way["as"] for way in told[0]["timed"]] == ["f32", "int8"]
    assert [way["kernel"] for way in told[0]["timed"]] == ["attention", "attention i8"]
    assert "attention: 1 of 1 in int8" in printed
    arithmetic = [k.get("arithmetic") for k in report["kernels"] if k["kind"] == "attention"]
    assert sorted(arithmetic, key=str) == [None, "i8"]
    step = json.loads(lathe_tool.ok("inspect", out, "--json"))["recipe"]["steps"][0]
    assert step == {"step": "quantize", "mode": "attention", "prefer": "size", "tensors": ["/1/*"]}

    plain = lathe.load(lathe.compile(model, tmp_path / "plain.lathe")).session()
    rounded = lathe.load(out).session()
    for queries, keys in ((0, KEYS), (1, KEYS), (5, 1), (70, KEYS), (KEYS, KEYS)):
        x = inputs(queries, keys)
        exact, got = plain.run(x)["y"], rounded.run(x)["y"]
        assert got.shape == exact.shape
        if queries:
            assert np.linalg.norm(got - exact) <= 0.03 * np.linalg.norm(exact)


def test_the_recipe_that_is_kept_repeats_it(compress, lathe_tool, model, tmp_path):
    """Whether or not integers were faster here."""
    report, out, _ = compress({})
    told = report["compression"]["layers"]
    assert len(told) == 2 and all(len(entry["timed"]) == 2 for entry in told)
    for entry in told:
        before, after = (way["microseconds"] for way in entry["timed"])
        isFaster = before > 1.1 * after and before - after > 3
        assert entry.get("format") == ("int8" if isFaster else None)
        why = r"attention of integers would be [\d.]+ us \([\d.]+ %\) (slower|faster, not by 10 % and 3 us): .* us as .*, .* us as "
        assert isFaster or re.match(why, entry["reason"]), entry["reason"]
    step = report["compression"]["recipe"]["steps"][0]
    assert step["prefer"] == "size"
    assert len(step["exclude"]) == sum("reason" in entry for entry in told)
    recipe = tmp_path / "kept.json"
    recipe.write_text(json.dumps(report["compression"]["recipe"]))
    lathe_tool.ok("compile", model, "-o", tmp_path / "again.lathe", "--recipe", recipe)
    assert (tmp_path / "again.lathe").read_bytes() == out.read_bytes()


@pytest.mark.parametrize(
    "step, words",
    [
        ({"bits": 4}, ["field 'bits'", "8"]),
        ({"method": "gptq"}, ["field of mode 'attention' 'method' is not known", "bits, prefer"]),
        ({"tensors": ["/2/*"]}, ["step 1", "field 'tensors'", "'/2/*'", "the first one is '/0/"]),
    ],
)
def test_wrong_steps(step, words, lathe_tool, model, tmp_path):
    recipe = tmp_path / "recipe.json"
    recipe.write_text(json.dumps({"steps": [{"step": "quantize", "mode": "attention", **step}]}))
    check_failure(lathe_tool("compile", model, "-o", tmp_path / "m.lathe", "--recipe", recipe), USAGE, *words)
    assert not (tmp_path / "m.lathe").exists()


def test_flag(lathe_tool, model, linear_onnx, tmp_path):
    """--attention alone leaves weights; ONNX, models without attention and what is asked for twice are refused."""
    out = tmp_path / "m.lathe"

    def modes(*arguments):
        lathe_tool.ok(arguments[0], model, "-o", out, "--prefer", "size", *arguments[1:])
        return [step["mode"] for step in json.loads(lathe_tool.ok("inspect", out, "--json"))["recipe"]["steps"]]

    assert modes("quantize", "--attention", "int8") == ["attention"]
    assert modes("quantize", "--attention", "int8", "--bits", "4") == ["weight-only", "attention"]
    assert modes("compile", "--int8", "--attention", "int8") == ["dynamic", "attention"]
    assert modes("compile", "--int8") == ["dynamic"]
    refusals = [
        ("quantize", linear_onnx, "o.lathe", [], ["mode 'attention'", "explain --fusions"]),
        ("quantize", model, "o.onnx", [], ["mode 'attention'", "got ONNX"]),
        ("compile", model, "o.lathe", ["--recipe", tmp_path / "r.json"], ["--attention", "exclude each other"]),
    ]
    (tmp_path / "r.json").write_text(json.dumps({"steps": [{"mode": "attention"}]}))
    for command, source, name, flags, words in refusals:
        result = lathe_tool(command, source, "-o", tmp_path / name, "--attention", "int8", *flags)
        check_failure(result, USAGE, *words)
        assert not (tmp_path / name).exists()


def test_other_devices_keep_floats(compress):
    report, _, _ = compress({}, "--target", "cuda:sm_90")
    assert {entry["reason"] for entry in report["compression"]["layers"]} == {"the target 'cuda' has no attention of integers"}
