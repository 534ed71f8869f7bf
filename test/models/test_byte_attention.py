# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models whose attention multiplies bytes: near those of floats at any length, with any mask."""
import numpy as np
import pytest
from support import make_inputs

import lathe

FLAGS = ("--attention", "int8", "--prefer", "size")


def error(outputs, references):
    """The largest relative error of an output."""
    assert set(outputs) == set(references)
    assert all(outputs[name].shape == references[name].shape for name in outputs)
    norms = [(np.linalg.norm(outputs[name] - x), np.linalg.norm(x)) for name, x in references.items() if x.size]
    return max((own / max(whole, 1e-9) for own, whole in norms), default=0)


@pytest.mark.parametrize("name", ["bert", "distilbert", "roberta", "bert_opset23"])
def test_encoders(name, artifact, oracle):
    session = lathe.load(artifact(name, *FLAGS), verify=True).session()
    for batch, sequence, padded in ((1, 1, False), (3, 17, True), (2, 40, False), (1, 100, False), (3, 120, True)):
        inputs = make_inputs(name, batch, sequence, padded=padded)
        assert error(session.run(inputs), oracle(name, inputs)) < 0.03, (batch, sequence)
    # ONNX Runtime's Attention refuses a batch of 0.
    assert all(output.shape[0] == 0 for output in session.run(make_inputs(name, 0, 9)).values())


@pytest.mark.parametrize("name", ["gpt2", "llama", "llama_opset23"])
def test_decoders(name, artifact, oracle):
    session = lathe.load(artifact(name, *FLAGS), verify=True).session()
    for batch, sequence, past in ((1, 1, 40), (2, 50, 0), (2, 33, 31), (1, 100, 5)):
        inputs = make_inputs(name, batch, sequence, past=past, padded=batch > 1)
        assert error(session.run(inputs), oracle(name, inputs)) < 0.03, (batch, sequence, past)


@pytest.mark.parametrize("name", ["llama_nocache", "gemma3_text", "bloom"])
@pytest.mark.parametrize("cache", [(), ("--kv-cache", "int8")])
def test_generation(name, cache, artifact):
    """What is prefilled in one run is near what floats give; a cache of codes, and single tokens, are read as floats."""
    text = np.random.default_rng(1).integers(5, 90, 110).tolist()
    found = {}
    for flags in (cache, (*FLAGS, *cache)):
        generator = lathe.load(artifact(name, "--generate", "on", *flags)).generator()
        generator.begin(1)
        found[len(flags) > len(cache)] = [generator.append([text[:100]])[0], generator.append([text[100:101]])[0]]
    for rounded, exact in zip(found[True], found[False]):
        difference = np.linalg.norm(rounded - exact) / np.linalg.norm(exact)
        assert difference < 0.03
        assert not cache or difference == 0
