# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models that begin with convolutions equal ONNX Runtime at every shape, from one artifact each."""
import numpy as np
import pytest
from support import assert_close

IMAGES = {"vit": 32, "swin": 64, "swin_legacy": 64}  # edge lengths
BATCHES = [1, 2, 3, 5]


def images(name, batch):
    size = IMAGES[name]
    return {"pixel_values": np.random.default_rng(batch).standard_normal((batch, 3, size, size), dtype=np.float32)}


def speech(batch, length):
    random = np.random.default_rng([batch, length])
    return {
        "input_features": random.standard_normal((batch, 80, 200), dtype=np.float32),
        "decoder_input_ids": random.integers(5, 900, (batch, length)),
    }


@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", IMAGES)
def test_images(name, batch, session, oracle):
    inputs = images(name, batch)
    assert_close(session(name).run(inputs), oracle(name, inputs))


@pytest.mark.parametrize("length", [1, 7, 33])
@pytest.mark.parametrize("batch", BATCHES)
def test_speech(batch, length, session, oracle):
    inputs = speech(batch, length)
    assert_close(session("whisper").run(inputs), oracle("whisper", inputs))


@pytest.mark.parametrize("name", [*IMAGES, "whisper"])
def test_empty(name, session, oracle):
    inputs = images(name, 0) if name in IMAGES else speech(0, 7)
    try:
        references = oracle(name, inputs)
    except Exception as error:  # ONNX Runtime has an exception class for each status
        pytest.skip(f"ONNX Runtime does not run it: {str(error)[:80]}")
    assert_close(session(name).run(inputs), references)


def test_convolutions_are_library_products(lathe_tool, onnx_path, tmp_path):
    """Windows times the weight: a constant that is prepared once, not a loop that we generate."""
    for name, shapes in {"vit": ["192, 64"], "whisper": ["240, 64", "192, 64"]}.items():
        folder = tmp_path / name
        lathe_tool.ok("compile", onnx_path(name), "-o", tmp_path / "model.lathe", "--dump-ir", folder)
        text = next(folder.glob("*select*")).read_text()
        products = [line for line in text.splitlines() if "kernel.matmul" in line]
        for shape in shapes:
            assert any(f"weight_shape = array<i64: {shape}>" in line for line in products), shape
