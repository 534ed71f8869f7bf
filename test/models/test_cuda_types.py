# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models for CUDA in types of fewer bits, on the emulator (or on LATHE_TEST_DEVICE), beside the processor's results."""
import json

import numpy as np
import pytest
from support import DEVICE, make_inputs
from test_more_models import ids, right_padded
from test_vision_and_speech import images


def outputs_of(path, device, inputs):
    import lathe

    return lathe.load(path, device=device).session(threads=2).run(inputs)


def assert_near(results, references, share):
    """Differences stay below a share of what the largest number of an output is."""
    assert set(results) == set(references)
    for name, reference in references.items():
        assert results[name].shape == reference.shape
        if reference.size and reference.dtype == np.float32:
            assert np.isfinite(results[name]).all(), name
            assert np.abs(results[name] - reference).max() <= share * np.abs(reference).max(), name


# f16 keeps 11 bits of each operand, bf16 8 of them: a few steps of these are what layers add up to.
@pytest.mark.parametrize("precision, share", [("f16", 4e-3), ("bf16", 3e-2)])
@pytest.mark.parametrize("name, shape", [("bert", (2, 19, 0)), ("llama", (1, 1, 5))])
def test_weights_of_16_bits(name, shape, precision, share, artifact, oracle):
    path = artifact(name, "--target", "cuda:sm_80", "--precision", precision)
    inputs = make_inputs(name, *shape)
    assert_near(outputs_of(path, DEVICE, inputs), oracle(name, inputs), share)


# What rounds to the other integer, because sums differ by a step of f32, is a step of 1 / 127 of a row.
@pytest.mark.parametrize("name, shape", [("bert", (2, 19, 0)), ("bert", (1, 3, 0)), ("llama", (2, 7, 3))])
def test_integers(name, shape, artifact):
    path = artifact(name, "--target", "cpu:avx2,cuda:sm_80", "--int8")
    inputs = make_inputs(name, *shape)
    assert_near(outputs_of(path, DEVICE, inputs), outputs_of(path, "cpu", inputs), 1e-2)


def test_many_rows_of_int4(artifact):
    path = artifact("bert", "--target", "cpu:avx2,cuda:sm_80", "--int4")
    inputs = make_inputs("bert", 2, 19)  # 38 rows: weights are expanded
    assert_near(outputs_of(path, DEVICE, inputs), outputs_of(path, "cpu", inputs), 1e-2)


# Numbers that codes stand for are rounded, too, which is what the processor, whose products by codes are of f32, does not do.
@pytest.mark.parametrize("precision, share", [("f16", 1e-2), ("bf16", 5e-2)])
@pytest.mark.parametrize("flags", [("--int4",), ("--fp8",)])
def test_codes_in_16_bits(precision, share, flags, artifact, lathe_tool, onnx_path, tmp_path):
    report = tmp_path / "report.json"
    lathe_tool.ok("compile", onnx_path("bert"), "-o", tmp_path / "m.lathe", "--target", "cuda:sm_80", "--precision", precision, *flags, "--report", report)
    path = artifact("bert", "--target", "cpu:avx2,cuda:sm_80", "--precision", precision, *flags)
    products = [kernel for kernel in json.loads(report.read_text())["kernels"] if "library" in kernel and "weight" in kernel]
    assert products and {kernel["library"] for kernel in products} == {f"cublaslt-{precision}"}
    for shape in ((2, 19), (1, 3), (1, 1)):
        inputs = make_inputs("bert", *shape)
        assert_near(outputs_of(path, DEVICE, inputs), outputs_of(path, "cpu", inputs), share)


def attention_inputs(name):
    """Of some 20 queries."""
    if name in ("vit", "swin"):
        return images(name, 2)
    if name in ("bert", "bert_opset23"):
        return make_inputs(name, 2, 19, padded=True)
    return {"input_ids": ids(np.random.default_rng(4), 2, 19), "attention_mask": right_padded(2, 19)}


@pytest.mark.parametrize("precision, share", [("f16", 1e-2), ("bf16", 5e-2)])
@pytest.mark.parametrize("name", ["bert", "bert_opset23", "t5_encoder", "vit", "swin"])
def test_attention_by_cudnn(name, precision, share, artifact, oracle, monkeypatch, capfd):
    """With masks of padding, with distances that are added, and without; what cuDNN does not take the own kernel does, both for the same model."""
    path = artifact(name, "--target", "cuda:sm_80", "--precision", precision)
    inputs = attention_inputs(name)
    monkeypatch.setenv("LATHE_CUDA_VERBOSE", "1")
    results = []
    for without in ("0", "1"):
        monkeypatch.setenv("LATHE_CUDA_NO_CUDNN", without)
        results.append(outputs_of(path, DEVICE, inputs))
        told = capfd.readouterr().err
        assert "attention by" in told
        if DEVICE == "cuda-emulator" or without == "1":
            assert ("attention by cuDNN" in told) == (without == "0"), told
        assert_near(results[-1], oracle(name, inputs), share)
    assert_near(results[0], results[1], share)


def test_prompts_by_cudnn(artifact, monkeypatch, capfd):
    """Prompts of one length, of 16 tokens and more, are cuDNN's; of several lengths and single tokens they are not. Tokens are those of the own kernel."""
    import lathe

    path = artifact("llama", "--target", "cuda:sm_80", "--generate", "on", "--precision", "f16")
    random = np.random.default_rng(7)
    prompts = [random.integers(5, 900, 70).tolist() for _ in range(2)]
    monkeypatch.setenv("LATHE_CUDA_VERBOSE", "1")
    results, told = [], []
    for without in ("0", "1"):
        monkeypatch.setenv("LATHE_CUDA_NO_CUDNN", without)
        results.append(lathe.load(path, device=DEVICE).generate(prompts, max_new_tokens=3))
        told.append(capfd.readouterr().err)
    assert results[0] == results[1]
    assert "LATHE_CUDA_NO_CUDNN is set" in told[1] and "attention by cuDNN" not in told[1]
    if DEVICE == "cuda-emulator":
        assert "attention by cuDNN" in told[0]
        assert "it has fewer than 16 queries: 1" in told[0]


def test_tf32(artifact, oracle, monkeypatch):
    path = artifact("bert", "--target", "cuda:sm_80")
    inputs = make_inputs("bert", 2, 9)
    exact = outputs_of(path, DEVICE, inputs)
    monkeypatch.setenv("LATHE_CUDA_TF32", "1")
    result = outputs_of(path, DEVICE, inputs)
    assert_near(result, oracle("bert", inputs), 4e-3)
    assert any((result[name] != exact[name]).any() for name in exact)


def test_tf32_is_an_option(artifact, lathe_tool, tmp_path, monkeypatch):
    """`--tf32` is what the variable says, of one module alone; nothing changes without."""
    import lathe

    path = artifact("bert", "--target", "cpu,cuda:sm_80")
    inputs = make_inputs("bert", 2, 9)
    np.savez(tmp_path / "in.npz", **inputs)

    def run(*flags):
        lathe_tool.ok("run", path, "--inputs", tmp_path / "in.npz", "--outputs", tmp_path / "out.npz", *flags)
        return dict(np.load(tmp_path / "out.npz"))

    def same(one, other):
        return all((one[name] == other[name]).all() for name in other)

    exact, rounded = run("--device", DEVICE), run("--device", DEVICE, "--tf32")
    assert not same(rounded, exact)
    assert same(lathe.load(path, device=DEVICE, tf32=True).session(threads=2).run(inputs), rounded)
    assert same(outputs_of(path, DEVICE, inputs), exact)
    monkeypatch.setenv("LATHE_CUDA_TF32", "1")
    assert same(outputs_of(path, DEVICE, inputs), rounded)
    assert same(run("--device", "cpu", "--tf32"), run("--device", "cpu"))


@pytest.mark.parametrize(
    "flags, library", [((), "f32"), (("--bf16",), "bf16"), (("--fp16",), "f16"), (("--int8",), "int8")]
)
def test_report_tells_the_library(flags, library, lathe_tool, onnx_path, tmp_path):
    report = tmp_path / "report.json"
    lathe_tool.ok("compile", onnx_path("bert"), "-o", tmp_path / "m.lathe", "--target", "cuda:sm_80", "--report", report, *flags)
    kernels = json.loads(report.read_text())["kernels"]
    assert f"cublaslt-{library}" in {kernel["library"] for kernel in kernels if kernel["kind"] == "matmul"}


def products_of(lathe_tool, model, folder, *flags):
    """The calls of products of a program for CUDA."""
    lathe_tool.ok("compile", model, "-o", folder / "m.lathe", "--target", "cuda:sm_80", "--dump-ir", folder / "ir", *flags)
    text = next((folder / "ir").glob("*-select.mlir")).read_text()
    return [line for line in text.splitlines() if "kernel.matmul" in line and "weight_shape" in line]


def side(line, name):
    """The type of the elements of a side of a product."""
    return line.split(f" {name}(")[1].split(">")[0].split("x")[-1]


@pytest.mark.parametrize("precision", ["f16", "bf16"])
def test_16_bits_stay_between_products(precision, lathe_tool, onnx_path, tmp_path):
    """Of each of llama's two layers all but the products of attention's results read 16 bits, and of the gated layers the second writes them."""
    products = products_of(lathe_tool, onnx_path("llama"), tmp_path, "--precision", precision)
    assert sum(side(line, "lhs") == precision for line in products) >= 2 * 6
    assert sum(side(line, "lhs") == "f32" for line in products) <= 2 + 1
    assert sum(side(line, "out") == precision for line in products) == 2


def test_f32_stays_f32(lathe_tool, onnx_path, tmp_path):
    for line in products_of(lathe_tool, onnx_path("llama"), tmp_path):
        assert (side(line, "lhs"), side(line, "out")) == ("f32", "f32")
