# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Weights stored in 16 bits equal ONNX Runtime with weights that were rounded before."""
import json

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
import pytest
from support import assert_close, make_inputs

TYPES = {"bf16": ml_dtypes.bfloat16, "f16": np.float16, "f32": np.float32}


def compile_with(model, folder, precision, **options):
    """(session, decisions by weight) of a model whose weights are stored in `precision`."""
    import lathe

    report = folder / "report.json"
    artifact = lathe.compile(model, folder / "model.lathe", precision=precision, report=str(report), **options)
    decisions = {entry["weight"]: entry for entry in json.loads(report.read_text())["precision"]}
    return lathe.load(artifact, verify=True).session(threads=2), decisions


def rounded(path, decisions):
    """The model with the weights that were narrowed rounded, in ONNX Runtime."""
    model = onnx.load(path)
    seen = set()
    for tensor in model.graph.initializer:
        if tensor.name in decisions:
            seen.add(tensor.name)
            values = onnx.numpy_helper.to_array(tensor)
            values = values.astype(TYPES[decisions[tensor.name]["type"]]).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))
    assert seen == set(decisions)
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("isa", ["avx2", "avx512", "avx512_bf16", "amx"])
@pytest.mark.parametrize("precision", ["bf16", "f16", "auto"])
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_models(name, precision, isa, onnx_path, tmp_path, monkeypatch):
    path = onnx_path(name)
    monkeypatch.setenv("LATHE_ISA", isa)
    try:
        session, decisions = compile_with(path, tmp_path, precision, target="cpu:avx2" if isa == "avx2" else "cpu:avx512")
    except Exception as error:
        if "lacks" in str(error):
            pytest.skip(f"this machine has no {isa}")
        raise
    assert decisions and {entry["type"] for entry in decisions.values()} == {"bf16" if precision == "bf16" else "f16"}
    reference = rounded(path, decisions)
    names = [output.name for output in reference.get_outputs()]
    for batch, length in [(1, 1), (2, 7), (3, 33), (1, 128)]:
        inputs = make_inputs(name, batch, length)
        # Products of bf16 round left sides, too.
        computed = "bf16" if isa in ("amx", "avx512_bf16") and precision == "bf16" else "f32"
        assert_close(session.run(inputs), dict(zip(names, reference.run(None, inputs))), computed)


def matrix_model(path, weights):
    """y = x w0 w1 ... and a lookup in the last weight."""
    nodes, value = [], "x"
    for name in weights:
        nodes.append(onnx.helper.make_node("MatMul", [value, name], [f"{name}_y"], name=f"/{name}"))
        value = f"{name}_y"
    graph = onnx.helper.make_graph(
        nodes,
        "matrices",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["rows", 32])],
        [onnx.helper.make_tensor_value_info(value, onnx.TensorProto.FLOAT, ["rows", 32])],
        [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 20)], ir_version=9), path)
    return path


def test_what_does_not_fit_stays(tmp_path):
    """A weight beyond the range of f16, or lost in its smallest numbers, stays f32 and is reported; auto takes bf16."""
    random = np.random.default_rng(0)
    weights = {name: random.standard_normal((32, 32), np.float32) * 0.2 for name in ("usual", "large", "small")}
    weights["large"][3, 4] = 1e5
    weights["small"] *= 1e-6
    path = matrix_model(tmp_path / "matrices.onnx", weights)
    x = random.standard_normal((5, 32), np.float32)
    for precision, expected in {
        "f16": {"usual": "f16", "large": "f32", "small": "f32"},
        "auto": {"usual": "f16", "large": "bf16", "small": "bf16"},
        "bf16": {"usual": "bf16", "large": "bf16", "small": "bf16"},
    }.items():
        session, decisions = compile_with(path, tmp_path, precision)
        assert {name: entry["type"] for name, entry in decisions.items()} == expected
        if precision != "bf16":
            assert "65504" in decisions["large"]["reason"] and "normal numbers" in decisions["small"]["reason"]
        output = session.run({"x": x})["small_y"]
        reference = rounded(path, decisions).run(None, {"x": x})[0]
        np.testing.assert_allclose(output, reference, rtol=1e-4, atol=1e-4 * np.abs(reference).max())


def test_usage(tmp_path):
    import lathe

    path = matrix_model(tmp_path / "matrices.onnx", {"w": np.eye(32, dtype=np.float32)})
    with pytest.raises(lathe.Error, match="expected f32, bf16, f16 or auto") as caught:
        lathe.compile(path, tmp_path / "x.lathe", precision="f8")
    assert caught.value.exit_code == 2
    with pytest.raises(lathe.Error, match="exclude each other"):
        lathe.compile(path, tmp_path / "x.lathe", bf16=True, precision="f16")
    assert not (tmp_path / "x.lathe").exists()
