# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compressed models written as ONNX: ONNX Runtime's results equal ours, and the file is as small as the artifact's weights."""
import numpy as np
import onnx
import onnxruntime
import pytest
from export.inputs import SIZES
from test_onnx_export import make_inputs, onnx_session, run
from test_quantized_models import ROUNDED

import lathe

# Flags of `lathe quantize`, and the most that the file may take of the dense one's bytes.
FORMS = {
    "int8": (["--bits", "8"], 0.3),
    "int4": (["--bits", "4", "--group-size", "32"], 0.2),
    "int4_asymmetric": (["--bits", "4", "--group-size", "32", "--asymmetric"], 0.2),
    "int4_float_zeros": (["--bits", "4", "--group-size", "32", "--method", "hqq"], 0.25),
    "int3": (["--bits", "3", "--group-size", "32"], 0.2),
    "int2": (["--bits", "2", "--group-size", "16"], 0.2),
    "int4_double": (["--bits", "4", "--group-size", "16", "--double-quantization"], 0.2),
    "int8_double": (["--bits", "8", "--asymmetric", "--double-quantization"], 0.3),
    "nf4_double": (["--format", "nf4", "--group-size", "32", "--double-quantization"], 0.25),
    "nf4": (["--format", "nf4", "--group-size", "32"], 0.25),
    "mxfp4": (["--format", "mxfp4"], 0.25),
    "fp8": (["--format", "fp8-e5m2"], 0.3),
    "log2": (["--mode", "log", "--format", "log2", "--bits", "4"], 0.2),
    "codebook": (["--mode", "codebook", "--format", "codebook", "--bits", "4"], 0.2),
    "dynamic": (["--mode", "dynamic", "--bits", "8"], 0.35),
}
CASES = [("bert", form) for form in FORMS] + [(name, form) for name in ("gpt2", "llama", "t5", "vit") for form in ("int4", "dynamic", "int4_double")]


def quantize(lathe_tool, model, output, flags):
    lathe_tool.ok("quantize", model, "-o", output, *flags)
    return output


@pytest.mark.parametrize("name, form", CASES)
def test_equals_artifact(name, form, lathe_tool, onnx_path, tmp_path):
    flags, share = FORMS[form]
    written = quantize(lathe_tool, onnx_path(name), tmp_path / "model.onnx", flags)
    artifact = quantize(lathe_tool, onnx_path(name), tmp_path / "model.lathe", flags)
    onnx.checker.check_model(str(written), full_check=True)
    assert written.stat().st_size <= share * onnx_path(name).stat().st_size
    # Products of 4 and 8 bits that ONNX Runtime makes of what it reads would round activations.
    theirs = onnx_session(written, onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL)
    ours = lathe.load(artifact).session(threads=1)
    allowed = ROUNDED if form == "dynamic" else 1e-3
    for seed, size in enumerate(SIZES[:4]):
        inputs = make_inputs(theirs, size, seed)
        references = run(theirs, inputs)
        for key, output in ours.run(inputs).items():
            if output.size:
                assert np.abs(output - references[key]).max() <= allowed * np.abs(references[key]).max(), key


@pytest.mark.parametrize("form", ["int4", "int4_double", "int8_double"])
def test_kernels_read_what_was_written(form, lathe_tool, onnx_path, tmp_path):
    """A model that is written as ONNX and compiled has the kernels that it has when it is compressed at once, and the same bytes of weights."""
    flags, _ = FORMS[form]
    written = quantize(lathe_tool, onnx_path("bert"), tmp_path / "model.onnx", flags)
    artifact = quantize(lathe_tool, onnx_path("bert"), tmp_path / "model.lathe", flags)
    compiled = tmp_path / "again.lathe"
    lathe.compile(written, compiled)
    sizes = [path.stat().st_size for path in (artifact, compiled)]
    assert sizes[1] <= 1.1 * sizes[0], sizes
