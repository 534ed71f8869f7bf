# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Products of 8-bit floats: activations that are rounded to E4M3 by rows, on the processor, on the emulator (or on LATHE_TEST_DEVICE), and as ONNX."""
import json

import numpy as np
import pytest
from support import DEVICE, make_inputs
from test_cuda_types import assert_near, outputs_of

DYNAMIC = ("--mode", "dynamic", "--format", "fp8-e4m3")


@pytest.fixture(scope="module")
def quantized(lathe_tool, onnx_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("floats")
    done = {}

    def get(name, *flags):
        key = (name, *flags)
        if key not in done:
            path, report = folder / f"{len(done)}.lathe", folder / f"{len(done)}.json"
            lathe_tool.ok("quantize", onnx_path(name), "-o", path, "--target", "cpu:avx2,cuda:sm_80", "--report", report, *flags)
            done[key] = path, json.loads(report.read_text())
        return done[key]

    return get


# A step of E4M3 is up to 1 / 16 of a number: what rounds to the other neighbour, because sums differ by a step of f32, is that of one of many.
@pytest.mark.parametrize("name, shape", [("bert", (2, 19, 0)), ("bert", (1, 3, 0)), ("bert", (0, 5, 0)), ("llama", (2, 7, 3)), ("llama", (1, 1, 5))])
def test_devices_agree(name, shape, quantized, oracle):
    """Few rows, many, none; and both are as near to the model as 8-bit floats are."""
    path, _ = quantized(name, *DYNAMIC)
    inputs = make_inputs(name, *shape)
    reference = outputs_of(path, "cpu", inputs)
    assert_near(outputs_of(path, DEVICE, inputs), reference, 2e-2)
    assert_near(reference, oracle(name, inputs), 0.2)


@pytest.mark.parametrize("flags, same", [(DYNAMIC, False), (("--format", "fp8-e4m3"), True)])
def test_activations_are_rounded_where_asked(flags, same, quantized, lathe_tool, onnx_path, tmp_path):
    """Weights alone leave activations as they are: results are those of the weights as numbers."""
    import onnxruntime

    path, _ = quantized("bert", *flags)
    plain = tmp_path / "weights.onnx"
    lathe_tool.ok("quantize", onnx_path("bert"), "-o", plain, "--format", "fp8-e4m3")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    session = onnxruntime.InferenceSession(str(plain), options, providers=["CPUExecutionProvider"])
    inputs = make_inputs("bert", 2, 19)
    names = [value.name for value in session.get_outputs()]
    expected = dict(zip(names, session.run(None, inputs)))
    for device in ("cpu", DEVICE):
        results = outputs_of(path, device, inputs)
        largest = max(np.abs(results[name] - expected[name]).max() / np.abs(expected[name]).max() for name in names)
        assert (largest < 1e-3) == same, (device, largest)


@pytest.mark.parametrize(
    "flags, library, rounds",
    [
        (DYNAMIC, "cublaslt-fp8", "rows-e4m3"),
        (("--mode", "dynamic", "--format", "fp8-e5m2"), "cublaslt-f32", "rows-e4m3"),
        (("--format", "fp8-e4m3"), "cublaslt-f32", None),
        (("--mode", "dynamic"), "cublaslt-int8", "rows"),
    ],
)
def test_report_tells_the_library(flags, library, rounds, lathe_tool, onnx_path, tmp_path):
    report = tmp_path / "report.json"
    lathe_tool.ok("quantize", onnx_path("bert"), "-o", tmp_path / "m.lathe", "--target", "cuda:sm_80", "--report", report, "--prefer", "size", *flags)
    kernels = [kernel for kernel in json.loads(report.read_text())["kernels"] if kernel["kind"] == "matmul" and "weight" in kernel]
    assert {library} == {kernel["library"] for kernel in kernels if "rounds" in kernel or rounds is None}
    assert {rounds} == {kernel.get("rounds") for kernel in kernels if kernel["library"] == library or rounds is None}


def test_generation(quantized):
    """A prompt of many rows, and steps of one, give the tokens of the processor."""
    import lathe

    path, _ = quantized("llama", "--generate", "on", *DYNAMIC)
    prompt = np.random.default_rng(7).integers(5, 900, 40).tolist()
    tokens = [lathe.load(path, device=device).generate([prompt], max_new_tokens=6) for device in ("cpu", DEVICE)]
    assert tokens[0] == tokens[1]
