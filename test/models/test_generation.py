# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Decoders and encoder-decoders generate what a plain loop over ONNX Runtime generates."""
import threading

import numpy as np
import pytest
from generation import DECODERS, ENCODER_DECODERS, Plain

import lathe

POSITIONS = {"gpt2": 256, "gpt2_legacy": 256, "gpt2_nocache": 256, "bart": 256, "whisper": 128}


@pytest.fixture(scope="session")
def plain(onnx_path):
    """plain(name): the loops over a model."""
    done = {}

    def get(name):
        if name not in done:
            done[name] = Plain(onnx_path(name))
        return done[name]

    return get


@pytest.fixture(scope="session")
def module(artifact):
    """module(name, *flags): the loaded artifact."""
    done = {}

    def get(name, *flags):
        if (name, *flags) not in done:
            done[name, *flags] = lathe.load(artifact(name, "--generate", "on", *flags), verify=True)
        return done[name, *flags]

    return get


def prompts_of(name, lengths):
    vocabulary = DECODERS.get(name) or ENCODER_DECODERS[name]
    random = np.random.default_rng([len(name), *lengths])
    return [random.integers(5, vocabulary, length).tolist() for length in lengths]


def sources_of(name, lengths):
    random = np.random.default_rng(list(lengths))
    if name == "whisper":  # the number of frames is fixed
        return [{"input_features": random.standard_normal((1, 80, 200), np.float32)} for _ in lengths]
    return [{"input_ids": random.integers(5, 990, (1, length))} for length in lengths]


def encoder_inputs(generator, sources):
    """The encoder's inputs that a program has: a mask, of which all is seen, is none."""
    return [{info.name: source[info.name] for info in generator.sources} for source in sources]


@pytest.mark.parametrize("name", DECODERS)
def test_greedy(name, module, plain):
    """128 tokens of one prompt, on its own."""
    prompt = prompts_of(name, [9])[0]
    assert module(name).generate(prompt, max_new_tokens=128) == plain(name).greedy(prompt, 128)


@pytest.mark.parametrize("name", DECODERS)
def test_greedy_of_many_lengths(name, module, plain):
    """Prompts around the ends of pages, side by side; rows end at different steps."""
    prompts = prompts_of(name, [1, 63, 64, 65, 2, 128, 70, 64])
    expected = [plain(name).greedy(prompt, 12) for prompt in prompts]
    assert module(name).generate(prompts, max_new_tokens=12) == expected
    ends = expected[0][3], expected[1][6], expected[2][0]
    shorter = [plain(name).greedy(prompt, 12, ends=ends) for prompt in prompts]
    assert [len(tokens) for tokens in shorter] != [12] * len(prompts)
    results = module(name).generate(prompts, max_new_tokens=12, eos_token_id=ends, return_dict_in_generate=True)
    assert [list(result.ids) for result in results] == shorter
    assert [result.finish_reason for result in results] == ["eos" if x[-1] in ends else "length" for x in shorter]


@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_greedy_of_encoder_decoders(name, module, plain):
    """Different lengths of what is read and of what is written, side by side."""
    sources = sources_of(name, [5, 1, 64, 65, 130])
    prompts = prompts_of(name, [1, 1, 2, 65, 3])
    model = module(name)
    inputs = encoder_inputs(model.generator(), sources)
    expected = [plain(name).greedy(prompt, 40, source) for prompt, source in zip(prompts, sources)]
    assert model.generate(prompts, inputs, max_new_tokens=40) == expected
    expected = plain(name).greedy(prompts[0], 100, sources[0])
    assert model.generate(prompts[0], inputs[0], max_new_tokens=100) == expected


BEAMS = [
    {"beams": 2, "length_penalty": 1.0, "early_stopping": False},
    {"beams": 4, "length_penalty": 0.5, "early_stopping": False},
    {"beams": 4, "length_penalty": 2.0, "early_stopping": False},
    {"beams": 4, "length_penalty": 1.0, "early_stopping": True},
    {"beams": 2, "length_penalty": 2.0, "early_stopping": "never"},
]


def check_beams(name, model, plain, prompts, sources, case):
    ends = list(range(3, 60, 7))
    settings = {"length_penalty": case["length_penalty"], "early_stopping": case["early_stopping"]}
    inputs = encoder_inputs(model.generator(), sources) if sources else None
    results = model.generate(
        prompts,
        inputs,
        max_new_tokens=16,
        num_beams=case["beams"],
        num_return_sequences=2,
        eos_token_id=ends,
        return_dict_in_generate=True,
        **settings,
    )
    expected = []
    for index, prompt in enumerate(prompts):
        source = sources[index] if sources else None
        expected += plain(name).beams(prompt, 16, case["beams"], source, ends, returned=2, **settings)
    assert [list(result.ids) for result in results] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([result.score for result in results], [score for _, score in expected], rtol=1e-4)


@pytest.mark.parametrize("case", BEAMS, ids=lambda case: "-".join(map(str, case.values())))
@pytest.mark.parametrize("name", DECODERS)
def test_beams(name, case, module, plain):
    check_beams(name, module(name), plain, prompts_of(name, [3, 60, 64]), None, case)


@pytest.mark.parametrize("case", BEAMS, ids=lambda case: "-".join(map(str, case.values())))
@pytest.mark.parametrize("name", ENCODER_DECODERS)
def test_beams_of_encoder_decoders(name, case, module, plain):
    check_beams(name, module(name), plain, prompts_of(name, [1, 2]), sources_of(name, [7, 66]), case)


def test_prompts_longer_than_a_piece(module, plain):
    """Long prompts are computed in pieces; these models count positions without a table."""
    for name in ("llama_nocache", "bloom"):
        prompts = prompts_of(name, [511, 512, 513, 1100])
        assert module(name).generate(prompts, max_new_tokens=6) == [plain(name).greedy(prompt, 6) for prompt in prompts]
