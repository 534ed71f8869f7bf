# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Further architectures, decoders without a cache, and models of an encoder and a decoder, against ONNX Runtime."""
import numpy as np
import pytest
from support import assert_close

# (batch, sequence, past or target): odd ones, and 1.
SHAPES = [(1, 1, 0), (1, 7, 5), (2, 33, 3), (3, 1, 12), (5, 128, 1), (1, 64, 64)]


def ids(random, *shape):
    return random.integers(5, 900, shape, dtype=np.int64)


def right_padded(batch, length):
    """Row i has i of its last tokens masked, and at least one left."""
    mask = np.ones((batch, length), np.int64)
    for row in range(batch):
        mask[row, max(1, length - row) :] = 0
    return mask


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name, heads, size", [("mistral", 2, 8), ("qwen2", 2, 8), ("gpt2_legacy", 4, 16)])
def test_decoder(name, heads, size, shape, session, oracle):
    batch, length, past = shape
    random = np.random.default_rng(shape)
    mask = np.ones((batch, past + length), np.int64)
    if batch > 1 and length > 1:
        mask[0, : past + length // 2] = 0  # prompts are padded at the left
    inputs = {
        "input_ids": ids(random, batch, length),
        "attention_mask": mask,
        "position_ids": np.ascontiguousarray(np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, past:]),
    }
    for layer in range(2):
        for part in ("key", "value"):
            cache = random.standard_normal((batch, heads, past, size), dtype=np.float32)
            inputs[f"past_key_values.{layer}.{part}"] = cache
    assert_close(session(name).run(inputs), oracle(name, inputs))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["gpt2_nocache", "llama_nocache", "t5_encoder"])
def test_one_sequence(name, shape, session, oracle):
    batch, length, _ = shape
    inputs = {"input_ids": ids(np.random.default_rng(shape), batch, length), "attention_mask": right_padded(batch, length)}
    assert_close(session(name).run(inputs), oracle(name, inputs))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", ["bart", "t5"])
def test_encoder_and_decoder(name, shape, session, oracle):
    batch, length, target = shape
    random = np.random.default_rng(shape)
    inputs = {
        "input_ids": ids(random, batch, length),
        "attention_mask": right_padded(batch, length),
        "decoder_input_ids": ids(random, batch, max(target, 1)),
    }
    assert_close(session(name).run(inputs), oracle(name, inputs))
