# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models of further architectures, as both of torch's exporters write them (export/ makes them and compares many more):
each equals ONNX Runtime at every size, from one artifact."""
import numpy as np
import onnx
import pytest
from export.inputs import SIZES, random_inputs
from support import assert_close

# Name in data/ to (kind, form).
MODELS = {
    "qwen2_moe": ("decoder", "cache"),  # all experts at once, weighted
    "deepseek_v3": ("decoder", "cache"),  # experts get the tokens that the run routes to them; latent attention
    "gemma3_text": ("decoder", "cache"),  # sliding windows, norms on both sides
    "bloom": ("decoder", "cache"),  # ALiBi
    "deberta_v2": ("text", "plain"),  # disentangled attention with buckets of distances
    "bart_cross": ("seq2seq", "cross"),  # a decoder's step, with the caches of its own and of the encoder's tokens
    "wav2vec2": ("audio", "plain"),  # lengths after several convolutions
    "beit": ("image", "plain"),  # biases by relative position
    "fnet": ("text", "plain"),  # Fourier transforms of hidden states and of the sequence
    "convnext": ("image", "plain"),  # images of any height and width
    "wavlm": ("audio", "plain"),  # relative positions gated by what is there, operators of set 22
    "speecht5_hifigan": ("named", "plain"),  # transposed convolutions of as many frames as come
}


class Info:
    """What random_inputs asks of an input."""

    def __init__(self, value):
        self.name = value.name
        self.type = "tensor(int64)" if value.type.tensor_type.elem_type == onnx.TensorProto.INT64 else "tensor(float)"
        self.dims = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "_".join(map(str, list(size.values())[:4])))
@pytest.mark.parametrize("name", MODELS)
def test_exported(name, size, session, oracle, onnx_path):
    kind, form = MODELS[name]
    infos = [Info(value) for value in onnx.load(onnx_path(name)).graph.input]
    about = {"kind": kind, "form": form, "dims": {i.name: i.dims for i in infos}}
    about["ranges"] = {"input_ids": 95, "decoder_input_ids": 95, "token_type_ids": 2}
    size = {"height": 32 + size["sequence"], "width": 64 + size["past_sequence"], **size}
    inputs = random_inputs(infos, about, size, seed=0)
    try:
        references = oracle(name, inputs)
    except Exception as error:  # ONNX Runtime has an exception class for each status
        if size["batch"] and name != "deepseek_v3":  # which exports as many experts as the example's tokens had
            raise
        pytest.skip(f"ONNX Runtime does not run it: {str(error)[:80]}")
    assert_close(session(name).run(inputs), references)


def merged_inputs(with_cache, batch, sequence, past):
    """Inputs of `bloom_merged`."""
    random = np.random.default_rng(0)
    inputs = {
        "input_ids": random.integers(0, 95, (batch, sequence)),
        "attention_mask": np.ones((batch, sequence + past * with_cache), np.int64),
        "use_cache_branch": np.array([with_cache]),
    }
    for layer in range(2):
        for part in ("key", "value"):
            inputs[f"past_key_values.{layer}.{part}"] = random.normal(size=(batch, 4, past, 8)).astype(np.float32)
    return inputs


@pytest.mark.parametrize("size", [(2, 3, 4), (1, 1, 7), (1, 5, 0), (3, 7, 0), (2, 1, 1), (5, 33, 2)], ids=lambda size: "_".join(map(str, size)))
@pytest.mark.parametrize("with_cache", [True, False])
def test_merged_decoder(with_cache, size, session, oracle):
    """A decoder's two steps as the branches of an `If`, of which an input says which one to take."""
    inputs = merged_inputs(with_cache, *size)
    references = oracle("bloom_merged", inputs)
    assert_close(session("bloom_merged").run(inputs), references)
