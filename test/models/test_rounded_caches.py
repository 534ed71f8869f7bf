# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Caches of int8 and int4 generate what the same rounding in NumPy generates, and take the memory that they say."""

import numpy as np
import pytest
from generation import Plain
from rounded_caches import KINDS, RoundedPlain, rotate, round_rows

import lathe

CACHED = ["gpt2", "gpt2_legacy", "llama", "llama_opset23", "mistral", "qwen2", "gemma3_text", "bloom"]


@pytest.fixture(scope="module")
def module(artifact):
    """module(name, kind, *flags): the loaded artifact."""
    done = {}

    def get(name, kind, *flags):
        if (name, kind, *flags) not in done:
            cache = ["--kv-cache", kind] if kind else []
            done[name, kind, *flags] = lathe.load(artifact(name, "--generate", "on", *cache, *flags), verify=True)
        return done[name, kind, *flags]

    return get


@pytest.fixture(scope="module")
def plain(onnx_path):
    """plain(name, kind): the loops over the model; without a kind, as it is."""
    done = {}

    def get(name, kind):
        if (name, kind) not in done:
            done[name, kind] = RoundedPlain(onnx_path(name), kind) if kind else Plain(onnx_path(name))
        return done[name, kind]

    return get


def prompts_of(*lengths, vocabulary=90):
    random = np.random.default_rng(lengths)
    return [random.integers(5, vocabulary, length).tolist() for length in lengths]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", CACHED)
def test_logits(name, kind, module, plain):
    """Far nearer to those of the same rounding than to those without it, however a text is cut into runs."""
    text = prompts_of(77)[0]
    exact, rounded = (plain(name, which).text().append(text) for which in (None, kind))
    effect = np.abs(exact - rounded).max()
    assert effect > 0
    for pieces in ([77], [64, 13], [1] * 77):
        generator, done = module(name, kind).generator(), 0
        generator.begin(1)
        for piece in pieces:
            logits = generator.append([text[done : done + piece]])[0]
            done += piece
        # A number between two codes may go to the other one, where products are added in another order.
        assert np.abs(logits - rounded).max() < max(0.2 * effect, 1e-5 * np.abs(rounded).max()), pieces


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gpt2", "llama", "qwen2", "mistral"])
def test_greedy_of_many_lengths(name, kind, module, plain):
    """Prompts around the ends of pages, side by side."""
    prompts = prompts_of(1, 63, 64, 65, 2, 70)
    expected = [plain(name, kind).greedy(prompt, 8) for prompt in prompts]
    assert module(name, kind).generate(prompts, max_new_tokens=8) == expected


@pytest.mark.parametrize("name", ["gpt2", "qwen2"])
def test_beams_share_pages(name, module, plain):
    prompts = prompts_of(3, 60, 64)
    settings = {"max_new_tokens": 10, "num_beams": 3, "num_return_sequences": 2, "eos_token_id": [3]}
    results = module(name, "int8").generate(prompts, return_dict_in_generate=True, **settings)
    expected = [one for prompt in prompts for one in plain(name, "int8").beams(prompt, 10, 3, ends=[3], returned=2)]
    assert [list(result.ids) for result in results] == [tokens for tokens, _ in expected]
    np.testing.assert_allclose([result.score for result in results], [score for _, score in expected], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_encoder_and_decoder(kind, module, plain):
    """Caches that the encoder fills are rounded, too."""
    model = module("t5", kind)
    sources = [{"input_ids": np.random.default_rng(n).integers(5, 990, (1, n))} for n in (5, 1, 65)]
    prompts = prompts_of(1, 2, 65)
    for source, prompt in zip(sources, prompts):
        whole = {**source, "attention_mask": np.ones_like(source["input_ids"])}
        exact, rounded = (plain("t5", which).text(whole).append(prompt) for which in (None, kind))
        told = {}

        def listener(row, token, log_probability):
            told["log_probability"] = log_probability
            return False

        # The generator of sources has no logits of its own: the first token's probability tells them.
        token = int(rounded.argmax())
        result = model.generate(prompt, source, max_new_tokens=1, listener=listener)
        assert list(result) == [token]
        expected, other = (x[token] - np.log(np.exp(x.astype(np.float64) - x.max()).sum()) - x.max() for x in (rounded, exact))
        assert abs(told["log_probability"] - expected) < max(0.2 * abs(expected - other), 1e-4)
    expected = [plain("t5", kind).greedy(prompt, 6, source) for prompt, source in zip(prompts, [{**s, "attention_mask": np.ones_like(s["input_ids"])} for s in sources])]
    assert model.generate(prompts, sources, max_new_tokens=6) == expected


@pytest.mark.parametrize("name", ["bart", "whisper"])
def test_other_encoder_decoders(name, module):
    """Their exporters scale keys: the rounding of these is not that of the graph, but near it."""
    model, other = module(name, "int8"), module(name, None)
    source = {"input_features": np.random.default_rng(0).standard_normal((1, 80, 200), np.float32)}
    source = source if name == "whisper" else {"input_ids": np.random.default_rng(0).integers(5, 990, (1, 40))}
    told = []

    def listener(row, token, log_probability):
        told.append(log_probability)
        return True

    for one in (model, other):
        one.generate([7, 8, 9], source, max_new_tokens=2, listener=listener)
    assert told[0] != told[2]
    np.testing.assert_allclose(told[:1], told[2:3], atol=0.01)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gpt2", "llama"])
def test_reference_backend(name, kind, module, plain):
    """Rounding is part of the program: a backend without kernels for it gives the same."""
    prompts = prompts_of(2, 66)
    expected = [plain(name, kind).greedy(prompt, 5) for prompt in prompts]
    assert module(name, kind, "--target", "reference").generate(prompts, max_new_tokens=5) == expected


@pytest.mark.parametrize("isa", ["avx2", "avx512"])
def test_instruction_sets(isa, module, plain):
    prompt = prompts_of(67)[0]
    for kind in KINDS:
        model = module("qwen2", kind, "--target", f"cpu:{isa}")
        try:
            result = model.generate(prompt, max_new_tokens=6)
        except lathe.Error as error:
            if "avx512" not in str(error):
                raise
            pytest.skip(str(error))
        assert result == plain("qwen2", kind).greedy(prompt, 6)


def test_memory(module):
    """Pages are as large as inspect says a token is, and a budget holds that many more tokens."""
    held = {}
    for kind in (None, "int8", "int4"):
        generator = module("gpt2", kind).generator()
        generator.begin(1)
        generator.append([prompts_of(130)[0]])  # three pages
        held[kind] = generator.cache_bytes
        manifest = module("gpt2", kind).manifest
        caches = next(program for program in manifest["programs"] if program["name"] == "step")["caches"]
        # Two layers of four heads of 16 columns: codes of 4 bits come in blocks of 32.
        row = {"f32": 64, "i8": 16 + 2, "u4": 16 + 4}[caches[0]["type"]]
        expected = 3 * 64 * sum(cache["heads"] * row for cache in caches)
        assert expected <= held[kind] <= 1.1 * expected + 3 * 4096
    assert held["int8"] < 0.4 * held[None]
    budgets = {}
    for kind in (None, "int8"):
        for budget in range(1 << 17, 1 << 23, 1 << 16):
            try:
                module("gpt2", kind).generator(memory_budget=budget).generate(prompts_of(200)[0], max_new_tokens=2)
            except lathe.Error as error:
                assert error.status == lathe.Status.OVER_BUDGET
                continue
            budgets[kind] = budget
            break
    assert budgets["int8"] < budgets[None]


def test_forks_and_truncation(module):
    """Sequences that share pages go on by themselves; scoring in pieces rounds the same rows."""
    model = module("llama", "int4")
    tokens = np.array(prompts_of(70, 70))
    generator = model.generator()
    generator.begin(2)
    whole = generator.score(tokens)
    for pieces in ([1, 69], [30, 40]):
        generator.begin(2)
        parts = np.concatenate([generator.score(part) for part in np.split(tokens, np.cumsum(pieces)[:-1], 1)], 1)
        np.testing.assert_allclose(parts[:, 1:], whole[:, 1:], atol=2e-2)
    settings = {"max_new_tokens": 12, "temperature": 1.1, "seed": 3}
    many = model.generate(prompts_of(66)[0], num_return_sequences=4, **settings)
    assert many[0] == model.generate(prompts_of(66)[0], **settings) and len({tuple(one) for one in many}) > 1


def test_rounding_of_the_oracle():
    """The oracle's rounding is the format's: no number is clipped, and the error is half a step."""
    x = np.random.default_rng(0).standard_normal((50, 40)).astype(np.float32) * 3 + 1
    for bits, symmetric, group, rotated in KINDS.values():
        turned, back = (rotate(x), rotate(round_rows(x, bits, symmetric, group, rotated))) if rotated else (x, round_rows(x, bits, symmetric, group, False))
        spread = np.ptp(turned) if not symmetric else 2 * np.abs(turned).max()
        assert 0 < np.abs(turned - back).max() < 0.55 * spread / (2**bits - 1)
    np.testing.assert_allclose(rotate(rotate(x)), x, atol=1e-5)
