# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Parts that go as alternatives of steps `choose`: layers of a place get them together."""
import json

import numpy as np
import onnx
import onnxruntime
import pytest
from cli_support import USAGE, check_failure
from onnx import TensorProto, helper, numpy_helper

BLOCKS, WIDTH, HIDDEN = 3, 32, 128
DENSE = 4 * BLOCKS * 2 * WIDTH * HIDDEN
NEURONS = {"step": "prune", "pattern": "neurons", "sparsity": 0.5}
INT8 = {"step": "quantize", "bits": 8}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Residual feed-forward blocks, of which later ones add less, and samples."""
    path = tmp_path_factory.mktemp("parts")
    values = np.random.default_rng(0)
    nodes, weights = [], [numpy_helper.from_array(np.ones(WIDTH, np.float32), "gain")]
    for i in range(BLOCKS):
        up, down = values.standard_normal((WIDTH, HIDDEN), np.float32), values.standard_normal((HIDDEN, WIDTH), np.float32)
        weights += [numpy_helper.from_array(up / WIDTH**0.5, f"up{i}"), numpy_helper.from_array(down * np.float32(0.4**i / HIDDEN**0.5), f"down{i}")]
        nodes += [
            helper.make_node("LayerNormalization", [f"x{i}", "gain"], [f"n{i}"], f"block{i}/norm"),
            helper.make_node("MatMul", [f"n{i}", f"up{i}"], [f"u{i}"], f"block{i}/up"),
            helper.make_node("Relu", [f"u{i}"], [f"h{i}"]),
            helper.make_node("MatMul", [f"h{i}", f"down{i}"], [f"d{i}"], f"block{i}/down"),
            helper.make_node("Add", [f"x{i}", f"d{i}"], [f"x{i + 1}"]),
        ]
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", WIDTH]) for name in ("x0", f"x{BLOCKS}")]
    graph = helper.make_graph(nodes, "blocks", infos[:1], infos[1:], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path / "model.onnx")
    (path / "samples").mkdir()
    for i in range(2):
        np.savez(path / "samples" / f"{i}.npz", x0=values.standard_normal((9 + i, WIDTH), np.float32))
    return path


@pytest.fixture
def optimize(lathe_tool, folder, tmp_path):
    def run(output="m.lathe", **step):
        (tmp_path / "recipe.json").write_text(json.dumps({"steps": [{"step": "choose", **step}]}))
        result = lathe_tool("optimize", folder / "model.onnx", "-o", tmp_path / output, "--recipe", tmp_path / "recipe.json", "--calib", folder / "samples", "--report", tmp_path / "r.json")
        return result, json.loads((tmp_path / "r.json").read_text())["compression"] if result.returncode == 0 else None

    return run


def chosen(report):
    return {layer["weight"]: layer["chosen"] for layer in report["choices"][0]["layers"]}


def test_blocks_lose_neurons_together(optimize, lathe_tool, folder, tmp_path):
    # One of three blocks at half: 5/6 of the bytes.
    result, report = optimize(**{"from": [NEURONS], "target_size": 0.85})
    assert result.returncode == 0, result.stderr
    assert chosen(report) == {**{name: "as it was" for name in ("up0", "down0", "up1", "down1")}, **dict.fromkeys(("up2", "down2"), "64 of 128 neurons gone by magnitude")}
    choice = report["choices"][0]
    assert choice["weights_bytes_after"] == DENSE * 5 // 6 + 4 * WIDTH
    # The drop is that of the artifact, which is smaller.
    model = onnxruntime.InferenceSession(str(folder / "model.onnx"), providers=["CPUExecutionProvider"])
    error = energy = 0
    for sample in sorted((folder / "samples").iterdir()):
        lathe_tool.ok("run", tmp_path / "m.lathe", "--inputs", sample, "--outputs", tmp_path / "out.npz")
        dense = model.run(None, dict(np.load(sample)))[0].astype(np.float64)
        error += ((np.load(tmp_path / "out.npz")[f"x{BLOCKS}"] - dense) ** 2).sum()
        energy += (dense**2).sum()
    assert report["drop"] == pytest.approx((error / energy) ** 0.5, rel=1e-3) and report["drop"] > 0
    # What was chosen is a recipe like any other.
    (tmp_path / "again.json").write_text(json.dumps(report["recipe"]))
    lathe_tool.ok("compile", folder / "model.onnx", "-o", tmp_path / "again.lathe", "--recipe", tmp_path / "again.json", "--calib", folder / "samples")
    assert (tmp_path / "again.lathe").stat().st_size == (tmp_path / "m.lathe").stat().st_size


def test_parts_and_codes(optimize, tmp_path):
    """Alternatives of places beside those of layers, and codes of what is left."""
    result, report = optimize(**{"from": [INT8, NEURONS, [NEURONS, INT8]], "target_size": 0.21})
    assert result.returncode == 0, result.stderr
    choice = report["choices"][0]
    assert choice["weights_bytes_after"] <= 0.21 * (DENSE + 4 * WIDTH)
    for layer in choice["layers"]:
        dense, codes, parts, both = layer["alternatives"]
        assert dense["bytes"] == 2 * parts["bytes"] and both["bytes"] < codes["bytes"] < parts["bytes"]
        assert both["format"].startswith("64 of 128 neurons") and "int8" in both["format"]
        assert both["loss"] > codes["loss"] and both["loss"] == pytest.approx(parts["loss"], rel=0.2)
    own = chosen(report)
    for i in range(BLOCKS):
        assert own[f"up{i}"] == own[f"down{i}"] or not any("neurons" in own[f"{name}{i}"] for name in ("up", "down"))
    assert any("neurons" in name for name in own.values()) and any("neurons" not in name for name in own.values())
    # Steps that take parts away come first.
    kinds = [step["step"] for step in report["recipe"]["steps"]]
    assert kinds[0] == "prune" and set(kinds) == {"prune", "quantize"}


def test_onnx(optimize, folder, tmp_path):
    result, report = optimize("m.onnx", **{"from": [[NEURONS, INT8]], "target_size": 0.6})
    assert result.returncode == 0, result.stderr
    onnx.checker.check_model(onnx.load(tmp_path / "m.onnx"), full_check=True)
    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"), providers=["CPUExecutionProvider"])
    assert session.run(None, dict(np.load(folder / "samples" / "0.npz")))[0].shape == (9, WIDTH)


def test_wrong_alternatives(optimize):
    for alternatives, words in (
        ([[INT8, NEURONS]], ["alternative 1", "'neurons' comes before other steps"]),
        ([{**NEURONS, "scope": "global"}], ["alternative 1", "field 'scope'", "expects 'layer'"]),
        ([{"step": "prune", "pattern": "channels"}], ["'channels'", "not of single layers", "expects 'heads' or 'neurons'"]),
        ([{"step": "prune", "pattern": "heads"}], ["the model has no heads that could go"]),
    ):
        check_failure(optimize(**{"from": alternatives, "target_size": 0.5})[0], USAGE, *words)
