# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Weights with zeros on CUDA: 2:4 by cuSPARSELt, as the emulator plays it, and what is stored without zeros."""
import json

import numpy as np
import onnxruntime
import pytest
import test_sparse
from support import DEVICE, make_inputs
from test_cuda_types import assert_near, outputs_of


@pytest.fixture(scope="module")
def pruned(lathe_tool, onnx_path, tmp_path_factory):
    """A model of which two of each four numbers of a product's weights are zeros."""
    path = tmp_path_factory.mktemp("pruned") / "bert.onnx"
    lathe_tool.ok("prune", onnx_path("bert"), "-o", path, "--method", "magnitude", "--pattern", "2:4")
    return path


def compiled(lathe_tool, model, folder, *flags):
    """An artifact for both devices, and the products of its program for CUDA."""
    report = folder / "report.json"
    lathe_tool.ok("compile", model, "-o", folder / "m.lathe", "--target", "cpu:avx2,cuda:sm_80", "--report", report, *flags)
    text = json.loads(report.read_text())
    kernels = [kernel for program in text["programs"] for kernel in program["kernels"]]
    return folder / "m.lathe", [kernel for kernel in kernels if kernel["kind"] == "matmul"], text


def libraries(products):
    return {kernel["library"].rsplit("-", 1)[0] for kernel in products if "weight" in kernel}


@pytest.mark.parametrize("precision, share", [("f16", 6e-3), ("bf16", 4e-2)])
def test_pruned_weights_are_the_librarys(precision, share, lathe_tool, pruned, tmp_path, monkeypatch, capfd):
    path, products, _ = compiled(lathe_tool, pruned, tmp_path, "--precision", precision)
    assert f"cusparselt-{precision}" in {kernel["library"] for kernel in products}
    inputs = make_inputs("bert", 2, 19)
    monkeypatch.setenv("LATHE_CUDA_VERBOSE", "1")
    results = outputs_of(path, DEVICE, inputs)
    text = capfd.readouterr().err
    session = onnxruntime.InferenceSession(str(pruned), providers=["CPUExecutionProvider"])
    reference = dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))
    if DEVICE == "cuda-emulator":
        assert text.count("product by cuSPARSELt") == sum("cusparselt" in kernel["library"] for kernel in products)
    monkeypatch.setenv("LATHE_CUDA_NO_CUSPARSELT", "1")
    dense = outputs_of(path, DEVICE, inputs)
    text = capfd.readouterr().err
    assert "product by cuBLASLt, not cuSPARSELt: LATHE_CUDA_NO_CUSPARSELT is set" in text
    assert "product by cuSPARSELt" not in text
    for one in (results, dense):
        assert_near(one, reference, share)
        assert_near(one, outputs_of(path, "cpu", inputs), share)


@pytest.mark.parametrize("shape", [(1, 1), (3, 5)])
def test_odd_shapes(shape, lathe_tool, pruned, tmp_path):
    path, _, _ = compiled(lathe_tool, pruned, tmp_path, "--bf16")
    inputs = make_inputs("bert", *shape)
    assert_near(outputs_of(path, DEVICE, inputs), outputs_of(path, "cpu", inputs), 4e-2)


@pytest.mark.parametrize("flags", [("--bf16",), ()])
def test_what_else_is_dense(flags, lathe_tool, onnx_path, pruned, tmp_path):
    """Weights without zeros, and those of f32."""
    _, products, _ = compiled(lathe_tool, onnx_path("bert") if flags else pruned, tmp_path, *flags)
    assert libraries(products) == {"cublaslt"}


@pytest.mark.parametrize("codes", [False, True], ids=["floats", "codes"])
@pytest.mark.parametrize("transposed", [False, True], ids=["inputs_first", "outputs_first"])
@pytest.mark.parametrize("pattern, format", [("random", "csr"), ("random", "bitmap"), ("blocks", "bsr"), ("groups", "n_of_m")])
def test_stored_without_zeros(pattern, format, transposed, codes, lathe_tool, tmp_path):
    """What is stored without its zeros is a weight of the device, too, and not one that each run makes dense; both devices share it."""
    model = test_sparse.make_model(tmp_path / "model.onnx", pattern, transposed)
    quantize = [{"step": "quantize", "bits": 8}] if codes else []
    steps = test_sparse.recipe(tmp_path, *quantize, {"step": "sparsify", "format": format, "prefer": "size"})
    path, products, report = compiled(lathe_tool, model, tmp_path, "--recipe", steps)
    assert [layer["format"] for layer in report["compression"]["sparse"]] == [format] * 2
    assert report["decompressed"] == []
    assert {kernel["library"] for kernel in products} == {"cublaslt-f32"}
    assert report["weights_bytes"] < 0.75 * 4 * 2 * test_sparse.WIDTH * test_sparse.INNER
    for batch, sequence in [(1, 1), (3, 5)]:
        x = np.random.default_rng(batch).normal(size=(batch, sequence, test_sparse.WIDTH)).astype(np.float32)
        assert_near(outputs_of(path, DEVICE, {"x": x}), outputs_of(path, "cpu", {"x": x}), 1e-4)


@pytest.mark.parametrize("inner, library", [(128, "cusparselt-f16"), (130, "cublaslt-f16")])
def test_stored_as_groups_of_16_bits(inner, library, lathe_tool, tmp_path, monkeypatch):
    monkeypatch.setattr(test_sparse, "INNER", inner)
    model = test_sparse.make_model(tmp_path / "model.onnx", "groups", dtype=np.float16)
    steps = test_sparse.recipe(tmp_path, {"step": "sparsify", "format": "n_of_m", "prefer": "size"})
    path, products, report = compiled(lathe_tool, model, tmp_path, "--recipe", steps)
    assert len(report["compression"]["sparse"]) == 2
    assert {kernel["library"] for kernel in products} == {library}
    x = np.random.default_rng(1).normal(size=(2, 9, test_sparse.WIDTH)).astype(np.float16)
    results, references = outputs_of(path, DEVICE, {"x": x})["y"], outputs_of(path, "cpu", {"x": x})["y"]
    assert np.abs(results.astype(np.float32) - references).max() <= 1e-2 * np.abs(references).max()
