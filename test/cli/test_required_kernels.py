# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Formats and patterns that no kernel reads are refused where --require-kernel, or the recipe, says so."""
import json

import numpy as np
import onnx
import pytest
from cli_support import USAGE, check_failure, processor_seconds
from onnx import TensorProto, helper, numpy_helper

INPUTS = 100  # no multiple of most groups


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("kernels") / "model.onnx"
    weight = numpy_helper.from_array(np.random.default_rng(0).standard_normal((INPUTS, 64), np.float32), "w")
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", size]) for name, size in (("x", INPUTS), ("y", 64))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], "product")], "one", infos[:1], infos[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), path)
    return path


@pytest.fixture
def compile(lathe_tool, model, tmp_path):
    """compile(steps, *flags): the result with a recipe of these steps, within two seconds."""

    def run(steps, *flags, **fields):
        (tmp_path / "recipe.json").write_text(json.dumps({"steps": steps, **fields}))
        begin = processor_seconds()
        result = lathe_tool("compile", model, "-o", tmp_path / "m.lathe", "--recipe", tmp_path / "recipe.json", *flags)
        assert processor_seconds() - begin < 2
        return result

    return run


CODEBOOK = {"step": "quantize", "format": "codebook", "bits": 4, "dimension": 2}


def test_refused_with_the_nearest(compile, tmp_path):
    """Codes of two stages are added up by no kernel; zeros are left out of codes of 8 bits alone."""
    zeros = {"step": "prune", "pattern": "2:4"}
    for steps, words in (
        ([{**CODEBOOK, "stages": 2}], ["step 1", "no kernel of target 'cpu' reads 'codebook", "two stages'", "the nearest that one does so with is stages 1"]),
        ([zeros, {"step": "quantize", "bits": 4, "group_size": 32}], ["step 2", "no kernel", "zeros of 'int4 g32", "the nearest", "bits 8"]),
        ([{"step": "choose", "target_size": 0.5, "from": [{"bits": 8}, {**CODEBOOK, "stages": 2}]}], ["step 1", "field 'from': alternative 2", "no kernel"]),
    ):
        samples = tmp_path / "samples.npz"
        np.savez(samples, x=np.ones((2, INPUTS), np.float32))
        check_failure(compile(steps, "--calib", samples, require_kernel=True), USAGE, *words)
        check_failure(compile(steps, "--calib", samples, "--require-kernel"), USAGE, *words)
        assert not (tmp_path / "m.lathe").exists() and not (tmp_path / "m.lathe.resume").exists()


def test_accepted(compile, lathe_tool, tmp_path):
    """Where there are kernels nothing changes but the recipe; without the flag nothing is asked."""
    for steps in ([{"bits": 8}], [{"bits": 4, "group_size": 32}], [{**CODEBOOK}], [{"step": "prune", "pattern": "2:4"}, {"bits": 8}], [{"step": "prune", "pattern": "block:4x16"}]):
        assert compile(steps, require_kernel=True).returncode == 0
        assert json.loads(lathe_tool.ok("inspect", tmp_path / "m.lathe", "--json"))["recipe"]["require_kernel"] is True
    assert compile([{**CODEBOOK, "stages": 2}]).returncode == 0


def test_target_without_kernels(compile):
    check_failure(compile([{"bits": 8}], "--target", "reference", "--require-kernel"), USAGE, "no kernel of target 'reference'", "'int8")


def test_wrong_use(compile, lathe_tool, model, tmp_path):
    check_failure(compile([], require_kernel="yes"), USAGE, "field 'require_kernel'", "true or false")
    check_failure(lathe_tool("compile", model, "-o", tmp_path / "m.lathe", "--require-kernel"), USAGE, "--require-kernel goes with a recipe")
