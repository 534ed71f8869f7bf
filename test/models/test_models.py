# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Every model equals ONNX Runtime at every shape, from one artifact each."""
import numpy as np
import pytest
from support import DECODERS, ENCODERS, MODELS, assert_close, make_inputs

BATCHES = [1, 2, 3, 5]
LENGTHS = [1, 7, 33, 128]


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", ENCODERS)
def test_encoder(name, batch, length, padded, session, oracle):
    inputs = make_inputs(name, batch, length, padded=padded)
    assert_close(session(name).run(inputs), oracle(name, inputs))


@pytest.mark.parametrize("padded", [False, True], ids=["full", "padded"])
@pytest.mark.parametrize("past", [0, 5])
@pytest.mark.parametrize("length", LENGTHS)
@pytest.mark.parametrize("batch", BATCHES)
@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name, batch, length, past, padded, session, oracle):
    inputs = make_inputs(name, batch, length, past, padded)
    assert_close(session(name).run(inputs), oracle(name, inputs))


@pytest.mark.parametrize("batch, length", [(0, 7), (2, 0)])
@pytest.mark.parametrize("name, past", [(name, 0) for name in MODELS] + [(name, 5) for name in DECODERS])
def test_empty(name, past, batch, length, session, oracle):
    inputs = make_inputs(name, batch, length, past)
    try:
        references = oracle(name, inputs)
    except Exception as error:  # ONNX Runtime has an exception class for each status
        pytest.skip(f"ONNX Runtime does not run it: {str(error)[:80]}")
    assert_close(session(name).run(inputs), references)


def test_index_out_of_range(session):
    """A table has an end: an index past it is an error that names the node, as are negative ones below its start."""
    import lathe

    for identifier in (10**6, 2**40, -(10**6), -(2**62)):
        inputs = make_inputs("bert", 2, 7)
        inputs["input_ids"][1, 3] = identifier
        with pytest.raises(lathe.Error, match="out of range") as caught:
            session("bert").run(inputs)
        assert caught.value.status == lathe.Status.EXECUTION_ERROR
    session("bert").run(make_inputs("bert", 2, 7))


def test_decoding_step_by_step(session):
    """A sequence in one run equals the same sequence in two, through the cache."""
    for name in DECODERS:
        whole = make_inputs(name, 2, 12)
        logits = session(name).run(whole)["logits"]
        first = make_inputs(name, 2, 8)
        first.update({key: whole[key][:, :8] for key in ("input_ids", "attention_mask", "position_ids")})
        outputs = session(name).run(first)
        second = {key: whole[key][:, 8:] for key in ("input_ids", "position_ids")}
        second["attention_mask"] = whole["attention_mask"]
        for key, value in outputs.items():
            if key.startswith("present."):
                second[key.replace("present", "past_key_values")] = value
        assert_close({"logits": session(name).run(second)["logits"]}, {"logits": logits[:, 8:]})


def test_masked_tokens_do_not_matter(session):
    """What stands at padded positions must not change what the mask keeps."""
    inputs = make_inputs("bert", 2, 9, padded=True)
    kept = inputs["attention_mask"].astype(bool)
    before = session("bert").run(inputs)["output_0"]
    inputs["input_ids"] = np.where(kept, inputs["input_ids"], 17)
    after = session("bert").run(inputs)["output_0"]
    np.testing.assert_allclose(after[kept], before[kept], atol=1e-5)
