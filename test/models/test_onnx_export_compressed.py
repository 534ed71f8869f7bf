# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compressed models written as ONNX: ONNX Runtime's results equal ours, and the file is as small as the artifact's weights."""
import numpy as np
import onnx
import pytest
from export.inputs import SIZES
from test_onnx_export import make_inputs, onnx_session, run

import lathe

# Flags of `lathe quantize`, and the most that the file may take of the dense one's bytes.
FORMS = {
    "int8": (dict(mode="weight-only", bits=8), 0.45),
    "int4": (dict(mode="weight-only", bits=4, group_size=32), 0.4),
    "int3": (dict(mode="weight-only", bits=3, group_size=32), 0.4),
    "int2": (dict(mode="weight-only", bits=2, group_size=16), 0.4),
}


def quantize(lathe_tool, model, output, options):
    flags = [text for key, value in options.items() for text in (f"--{key.replace('_', '-')}", str(value))]
    lathe_tool.ok("quantize", model, "-o", output, *flags)
    return output


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_equals_artifact(name, form, lathe_tool, onnx_path, tmp_path):
    options, share = FORMS[form]
    written = quantize(lathe_tool, onnx_path(name), tmp_path / "model.onnx", options)
    artifact = quantize(lathe_tool, onnx_path(name), tmp_path / "model.lathe", options)
    onnx.checker.check_model(str(written), full_check=True)
    assert written.stat().st_size <= share * onnx_path(name).stat().st_size + 100_000
    theirs, ours = onnx_session(written), lathe.load(artifact).session(threads=1)
    for seed, size in enumerate(SIZES[:4]):
        inputs = make_inputs(theirs, size, seed)
        references = run(theirs, inputs)
        for key, output in ours.run(inputs).items():
            assert np.abs(output - references[key]).max() <= 1e-3 * np.abs(references[key]).max(), key
