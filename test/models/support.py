# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The models, their inputs, and how close outputs must be to the oracle."""
from typing import NamedTuple

import os

import numpy as np

# Allowed max|a - b| as a share of max|b|, where b is ONNX Runtime's f32 output, by precision of the compiled model.
# Where programs for CUDA run: `make check-gpu` says cuda.
DEVICE = os.environ.get("LATHE_TEST_DEVICE", "cuda-emulator")
TOLERANCES = {"f32": 2e-4, "bf16": 1e-2}


class Model(NamedTuple):
    """A model under test."""

    vocabulary: int  # ids below it are valid
    padding_id: int
    cache: tuple = ()  # (layers, heads, head size) of the key/value cache it takes and gives
    token_types: bool = False
    positions: int = 1 << 30  # tokens that its table of positions has room for, padding not counted


MODELS = {
    "minilm": Model(30000, 0, token_types=True),
    "bert": Model(900, 0, token_types=True),
    "bert_legacy": Model(900, 0, token_types=True),
    "distilbert": Model(900, 0),
    "roberta": Model(900, 1, positions=126),
    "gpt2": Model(900, 0, cache=(2, 4, 16)),
    "llama": Model(900, 0, cache=(2, 2, 8)),
    # Exported with the operators of newer sets: Attention, RotaryEmbedding, RMSNormalization.
    "bert_opset23": Model(900, 0, token_types=True),
    "llama_opset23": Model(900, 0, cache=(2, 2, 8)),
}
ENCODERS = [name for name, model in MODELS.items() if not model.cache]
DECODERS = [name for name, model in MODELS.items() if model.cache]


def make_inputs(name, batch, sequence, past=0, padded=False):
    """Inputs of a model. With `padded`, every row but the last has a different part of it masked: at the end for
    encoders, at the start for decoders, as generation does it."""
    model = MODELS[name]
    random = np.random.default_rng([batch, sequence, past, padded])
    total = past + sequence
    # Ids from 5 on: lower ones are special, and some models count positions by whether an id is padding.
    ids = random.integers(5, model.vocabulary, (batch, sequence), dtype=np.int64)
    mask = np.ones((batch, total), np.int64)
    if padded and sequence:
        for row in range(batch):
            kept = sequence if row == batch - 1 and batch > 1 else 1 + (row * 7 + sequence // 2) % sequence
            if model.cache:
                mask[row, : sequence - kept] = 0
            else:
                mask[row, kept:] = 0
                ids[row, kept:] = model.padding_id
    ids[:, model.positions :] = model.padding_id
    mask[:, model.positions :] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    if model.token_types:
        inputs["token_type_ids"] = random.integers(0, 2, (batch, sequence), dtype=np.int64)
    if model.cache:
        layers, heads, size = model.cache
        positions = np.maximum(np.cumsum(mask, axis=1) - 1, 0)[:, past:]
        inputs["position_ids"] = np.ascontiguousarray(positions)
        for layer in range(layers):
            for part in ("key", "value"):
                cache = random.standard_normal((batch, heads, past, size), dtype=np.float32)
                inputs[f"past_key_values.{layer}.{part}"] = cache
    return inputs


def assert_close(outputs, references, precision="f32"):
    """Compares every output; a difference names the output."""
    assert set(outputs) == set(references)
    for name, reference in references.items():
        output = outputs[name]
        assert output.shape == reference.shape, name
        assert output.dtype == reference.dtype, name
        if reference.size == 0:
            continue
        if not np.issubdtype(reference.dtype, np.floating):
            np.testing.assert_array_equal(output, reference, err_msg=name)
            continue
        np.testing.assert_array_equal(np.isfinite(output), np.isfinite(reference), err_msg=name)
        finite = np.isfinite(reference)
        if not finite.any():
            continue
        error = np.abs(output[finite].astype(np.float64) - reference[finite]).max()
        allowed = TOLERANCES[precision] * np.abs(reference[finite]).max()
        assert error <= allowed, f"{name}: max error {error:.3g}, allowed {allowed:.3g}"
