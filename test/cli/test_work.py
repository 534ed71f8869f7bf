# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The operations of an artifact, by the type that they may be multiplied in."""
import json

import numpy as np
import pytest
from cli_support import save
from onnx import helper, numpy_helper

K, N = 64, 32
ALL = 2 * K * N


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """y[batch, N] = x[batch, K] . w, three quarters of whose elements are zero."""
    weight = np.random.default_rng(0).normal(size=(K, N)).astype(np.float32)
    weight[np.abs(weight) < np.quantile(np.abs(weight), 0.75)] = 0
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"], name="product")]
    return save(tmp_path_factory.mktemp("work") / "m.onnx", nodes, [("x", ["batch", K])], [("y", ["batch", N])], [numpy_helper.from_array(weight, "w")])


@pytest.mark.parametrize("flags, expected", [
    (["compile"], {"f32": f"{ALL}*batch"}),
    (["compile", "--bf16"], {"bf16": f"{ALL}*batch"}),
    (["compile", "--fp16"], {"f32": f"{ALL}*batch"}),  # which is widened
    (["quantize", "--bits", "8"], {"f32": f"{ALL}*batch"}),
    (["quantize", "--bits", "8", "--mode", "dynamic"], {"i8": f"{ALL}*batch"}),
    (["quantize", "--bits", "4", "--group-size", "32", "--mode", "dynamic"], {"i8": f"{ALL}*batch"}),
    (["quantize", "--bits", "4", "--format", "nf4", "--group-size", "32"], {"f32": f"{ALL}*batch"}),
    (["compile", "--sparse"], {"f32": f"{ALL // 4}*batch"}),
])
def test_types(lathe_tool, model, tmp_path, flags, expected):
    prefer = [] if flags in (["compile"], ["compile", "--bf16"], ["compile", "--fp16"]) else ["--prefer", "size"]
    lathe_tool.ok(*flags[:1], model, "-o", tmp_path / "m.lathe", *flags[1:], *prefer)
    assert json.loads(lathe_tool.ok("inspect", tmp_path / "m.lathe", "--json"))["work"] == expected


def test_attention(lathe_tool, tmp_path):
    """Two products of 4 heads of 8, with as many keys as queries."""
    node = helper.make_node("Attention", ["q", "k", "v"], ["y"], name="attention")
    inputs = [(name, ["batch", 4, "length", 8]) for name in "qkv"]
    save(tmp_path / "a.onnx", [node], inputs, [("y", ["batch", 4, "length", 8])], opsets=(("", 23),))
    for flags, kind in (([], "f32"), (["--bf16"], "bf16"), (["--attention", "int8", "--prefer", "size"], "i8")):
        lathe_tool.ok("compile", tmp_path / "a.onnx", "-o", tmp_path / "a.lathe", *flags)
        work = json.loads(lathe_tool.ok("inspect", tmp_path / "a.lathe", "--json"))["work"]
        assert work == {kind: f"{2 * 2 * 8 * 4}*batch*length*length"}
