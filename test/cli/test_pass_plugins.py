# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Passes that users bring: examples/custom_pass is built by itself, and loaded by lathe-opt and lathe."""
import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from cli_support import USAGE, check_failure, linear, save
from onnx import helper, numpy_helper

ROOT = Path(__file__).resolve().parents[2]
CAP = "func.func(example-cap-relu{limit=4})"


def run(*command):
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def plugin(lathe_tool, tmp_path_factory):
    """The example, copied out of the tree, built and tested as its own CMakeLists.txt says."""
    folder = tmp_path_factory.mktemp("custom_pass")
    shutil.copytree(ROOT / "examples" / "custom_pass", folder / "source")
    run("cmake", "-S", folder / "source", "-B", folder / "build", f"-DLATHE_BIN={Path(lathe_tool.path).parent}")
    run("cmake", "--build", folder / "build")
    listed = run("ctest", "--test-dir", folder / "build", "--output-on-failure", "--no-tests=error")
    assert "2 tests passed" in listed or "100% tests passed, 0 tests failed out of 2" in listed
    return folder / "build" / "cap_relu.so"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """y[batch, 3] = relu(x[batch, 4] . weight)"""
    weight = numpy_helper.from_array(np.arange(-6, 6, dtype=np.float32).reshape(4, 3), "weight")
    nodes = [helper.make_node("MatMul", ["x", "weight"], ["product"], name="the_matmul"), helper.make_node("Relu", ["product"], ["y"], name="the_relu")]
    return save(tmp_path_factory.mktemp("relu") / "relu.onnx", nodes, [("x", ["batch", 4])], [("y", ["batch", 3])], [weight])


@pytest.mark.parametrize("pipeline", [CAP, f"fuse={CAP}", f"import={CAP}", f"simplify=canonicalize,{CAP}"])
def test_pass_runs(lathe_tool, plugin, model, tmp_path, pipeline):
    artifact = tmp_path / "m.lathe"
    lathe_tool.ok("compile", model, "-o", artifact, "--pass-plugin", plugin, "--pass-pipeline", pipeline)
    assert json.loads(lathe_tool.ok("inspect", artifact, "--json"))["options"]["pipelines"] == [pipeline if "=" in pipeline.split("{")[0] else f"fuse={pipeline}"]
    weight = np.arange(-6, 6, dtype=np.float32).reshape(4, 3)
    for batch in (3, 1, 0):
        x = np.random.default_rng(batch).standard_normal((batch, 4)).astype(np.float32) * 4
        np.savez(tmp_path / "in.npz", x=x)
        lathe_tool.ok("run", artifact, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz")
        got = np.load(tmp_path / "out.npz")["y"]
        np.testing.assert_allclose(got, np.clip(x @ weight, 0, 4), rtol=1e-5, atol=1e-5)
        assert batch < 3 or got.max() == 4  # what is tested happens


def test_passes_behind_each_other(lathe_tool, plugin, model, tmp_path):
    """Pipelines run in their order, Lathe's own passes and those of generated code among them, and ONNX is written too."""
    flags = ["--pass-plugin", plugin, "--pass-pipeline", "func.func(example-cap-relu{limit=4})", "--pass-pipeline", "func.func(example-cap-relu{limit=2})"]
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe", *flags, "--pass-pipeline", "select=cse", "--pass-pipeline", "plan=canonicalize", "--dump-ir", tmp_path / "ir")
    fused = next((tmp_path / "ir").glob("*-fuse.mlir")).read_text()
    assert fused.count("lathe.min") == 2 and "dense<4.0" in fused and "dense<2.0" in fused
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.onnx", "--emit", "onnx", "--pass-plugin", plugin, "--pass-pipeline", f"simplify={CAP}")
    assert b"Min" in (tmp_path / "m.onnx").read_bytes()


def fails(lathe_tool, model, tmp_path, code, *words, flags):
    check_failure(lathe_tool("compile", model, "-o", tmp_path / "m.lathe", *flags), code, *words)
    assert not (tmp_path / "m.lathe").exists()


def test_plugin_cannot_be_loaded(lathe_tool, model, tmp_path):
    fails(lathe_tool, model, tmp_path, USAGE, "can't load the pass plug-in", "no such file", flags=["--pass-plugin", tmp_path / "none.so"])
    (tmp_path / "text.so").write_text("no library")
    fails(lathe_tool, model, tmp_path, USAGE, "can't load the pass plug-in", "text.so", flags=["--pass-plugin", tmp_path / "text.so"])
    library = Path(lathe_tool.path).parent.parent / "lib" / "liblathe.so"
    fails(lathe_tool, model, tmp_path, USAGE, "can't load the pass plug-in", "liblathe.so", flags=["--pass-plugin", library])


@pytest.mark.parametrize("pipeline, words", [
    ("none-of-these", ["'none-of-these'", "does not refer to a registered pass"]),
    ("link=canonicalize", ["import, simplify, fuse, select, plan, llvm", "got 'link'"]),
    ("fuse=", ["expected names of passes"]),
    ("func.func(canonicalize", ["pass pipeline 'func.func(canonicalize'"]),
])
def test_wrong_pipeline(lathe_tool, model, tmp_path, pipeline, words):
    fails(lathe_tool, model, tmp_path, USAGE, *words, flags=["--pass-pipeline", pipeline])


def test_phase_that_onnx_does_without(lathe_tool, model, tmp_path):
    fails(lathe_tool, model, tmp_path, USAGE, "as ONNX is written", "got 'select'", flags=["--emit", "onnx", "--pass-pipeline", "select=cse"])


def test_pass_that_fails(lathe_tool, plugin, model, tmp_path):
    flags = ["--pass-plugin", plugin, "--pass-pipeline", "func.func(example-cap-relu{limit=-1})"]
    fails(lathe_tool, model, tmp_path, USAGE, "expects a limit above 0, got -1", f"pass pipeline '{flags[-1]}' failed behind phase 'fuse'", flags=flags)


def test_pass_with_nothing_to_do(lathe_tool, plugin, tmp_path):
    """A model without relu compiles to the same code."""
    linear(tmp_path / "linear.onnx")
    for name, flags in (("with", ["--pass-plugin", plugin, "--pass-pipeline", CAP]), ("without", [])):
        lathe_tool.ok("compile", tmp_path / "linear.onnx", "-o", tmp_path / name, *flags, "--emit", "llvm")
    assert (tmp_path / "with").read_bytes() == (tmp_path / "without").read_bytes()
