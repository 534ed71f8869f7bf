# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Decoders and encoder-decoders generate what a plain loop over ONNX Runtime generates."""
import threading

import numpy as np
import pytest
from generation import DECODERS, ENCODER_DECODERS, Plain

import lathe

# Rows of the tables of positions.
POSITIONS = {"gpt2": 256, "gpt2_legacy": 256, "gpt2_nocache": 1280, "bart": 128, "whisper": 64}


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
    sources = sources_of(name, [5, 1, 64, 65, 127])
    prompts = prompts_of(name, [1, 1, 2, 24 if name == "whisper" else 65, 3])
    model = module(name)
    inputs = encoder_inputs(model.generator(), sources)
    expected = [plain(name).greedy(prompt, 40, source) for prompt, source in zip(prompts, sources)]
    assert model.generate(prompts, inputs, max_new_tokens=40) == expected
    count = min(128, POSITIONS.get(name, 129) - 1)
    expected = plain(name).greedy(prompts[0], count, sources[0])
    assert model.generate(prompts[0], inputs[0], max_new_tokens=count) == expected


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


def test_positions(module):
    """The longest sequence is what the table of positions has rows for, those before its first position not counted."""
    for name in [*DECODERS, *ENCODER_DECODERS]:
        assert module(name).generator().max_sequence == POSITIONS.get(name, 1 << 24), name


@pytest.mark.parametrize("name", ["gpt2", "bart"])
def test_max_sequence(name, module, plain):
    """Rows end where no further token fits; prompts that do not fit are an error, after which all is as before."""
    model = module(name)
    prompts = prompts_of(name, [3, 9, 12])
    sources = sources_of(name, [4, 5, 6]) if name == "bart" else None
    generator = model.generator(max_sequence=12)
    inputs = encoder_inputs(generator, sources) if sources else None
    assert generator.max_sequence == 12
    expected = [
        plain(name).greedy(prompt, 12 - len(prompt), sources[i] if sources else None) for i, prompt in enumerate(prompts[:2])
    ]
    expected.append([])  # its prompt is full
    results = generator.generate(prompts, inputs, max_new_tokens=30, return_dict_in_generate=True)
    assert [list(result.ids) for result in results] == expected
    assert [result.finish_reason for result in results] == ["max_sequence"] * 3
    with pytest.raises(lathe.Error, match="prompt 1 has 13 tokens; the longest sequence has 12") as caught:
        generator.generate([prompts[0], prompts_of(name, [13])[0]], inputs and inputs[:2], max_new_tokens=2)
    assert caught.value.status == lathe.Status.OVER_BUDGET
    assert generator.generate(prompts, inputs, max_new_tokens=30) == expected
    with pytest.raises(lathe.Error, match=f"the model has {POSITIONS[name]} positions") as caught:
        model.generator(max_sequence=POSITIONS[name] + 1)
    assert caught.value.status == lathe.Status.INVALID_ARGUMENT


def test_max_sequence_of_beams(module):
    """Beams end where no further token fits; a prompt that is full has none."""
    generator = module("llama").generator(max_sequence=12)
    settings = {"num_beams": 3, "num_return_sequences": 2, "max_new_tokens": 30, "return_dict_in_generate": True}
    results = generator.generate(prompts_of("llama", [9, 12, 12]), **settings)
    assert [len(result.ids) for result in results] == [3, 3, 0, 0, 0, 0]
    assert [result.finish_reason for result in results] == ["max_sequence"] * 6


@pytest.mark.parametrize("name", DECODERS)
def test_scores(name, module):
    """Probabilities of given tokens, in whatever pieces, are those of the logits of one step after another."""
    generator = module(name).generator()
    tokens = np.array([prompts_of(name, [70 + row])[0][:70] for row in range(3)])
    generator.begin(3)
    expected = np.full(tokens.shape, np.nan)
    for place in range(69):
        logits = generator.append(tokens[:, place : place + 1]).astype(np.float64)
        logits -= logits.max(-1, keepdims=True)
        logits -= np.log(np.exp(logits).sum(-1, keepdims=True))
        expected[:, place + 1] = np.take_along_axis(logits, tokens[:, place + 1 : place + 2], 1)[:, 0]
    for pieces in ([70], [1, 69], [30, 40]):
        generator.begin(3)
        scores = np.concatenate([generator.score(part) for part in np.split(tokens, np.cumsum(pieces)[:-1], 1)], 1)
        assert np.isnan(scores[:, 0]).all()
        np.testing.assert_allclose(scores[:, 1:], expected[:, 1:], rtol=1e-4, atol=1e-4)
    # Behind what was appended, which gives the logits that the first one is scored with.
    generator.begin(3)
    generator.append(tokens[:, :13])
    np.testing.assert_allclose(generator.score(tokens[:, 13:]), expected[:, 13:], rtol=1e-4, atol=1e-4)


def test_score_errors(module):
    generator = module("llama").generator(max_sequence=16)
    generator.begin(1)
    with pytest.raises(lathe.Error, match="token 997 is not one of the vocabulary's 997"):
        generator.score([[5, 997]])
    with pytest.raises(lathe.Error, match="a sequence of 17 tokens is longer than 16") as caught:
        generator.score([list(range(5, 22))])
    assert caught.value.status == lathe.Status.OVER_BUDGET
    with pytest.raises(lathe.Error, match="expected tokens"):
        generator.score([5, 6])
    with pytest.raises(lathe.Error, match="expected sequences and at least one token"):
        generator.score(np.empty((1, 0), np.int64))
    before = generator.score([[5, 6, 7]])
    generator.begin(1)
    np.testing.assert_array_equal(generator.score([[5, 6, 7]]), before)


@pytest.mark.parametrize(
    "prompts, settings, words",
    [
        ([[5, 6], []], {}, "prompt 1 has no tokens"),
        ([[5, 997]], {}, "token 997 of prompt 0 is not one of the vocabulary's 997"),
        ([[-1]], {}, "token -1 of prompt 0"),
        ([[5]], {"top_p": 1.5, "do_sample": True}, "top_p"),
        ([[5]], {"temperature": -1.0}, "temperature"),
        ([[5]], {"num_beams": 0}, "num_beams"),
        ([[5]], {"num_beams": 2, "num_return_sequences": 3}, "num_return_sequences"),
        ([[5]], {"max_new_tokens": -2}, "max_new_tokens"),
        ([[5]], {"early_stopping": 7}, "early_stopping"),
        ([[5]], {"beams": 2}, "beams is not a parameter of generation"),
        ([[5]], {"max_new_tokens": "many"}, "expected a number for max_new_tokens"),
        ([[5]], {"stop_strings": "x"}, "tokenizer"),
        ("text", {}, "needs a tokenizer"),
        ([[[5]]], {}, "expected a string or a list of ids for prompt 0"),
    ],
)
def test_errors(prompts, settings, words, module):
    generator = module("llama").generator()
    before = generator.generate([7, 8], max_new_tokens=4)
    with pytest.raises(lathe.Error, match=words) as caught:
        generator.generate(prompts, **{"max_new_tokens": 4, **settings})
    assert caught.value.status == lathe.Status.INVALID_ARGUMENT
    assert generator.generate([7, 8], max_new_tokens=4) == before


def test_source_errors(module):
    generator = module("t5").generator()
    good = {"input_ids": np.array([[5, 6, 7]])}
    before = generator.generate([2], good, max_new_tokens=4)
    for inputs, words in [
        (None, "expected inputs of the encoder for 1 sequences, got 0"),
        ([good, good], "expected inputs of the encoder for 1 sequences, got 2"),
        ({"ids": good["input_ids"]}, "expected encoder inputs input_ids, got ids"),
        ({"input_ids": np.array([[5], [6]])}, "must be of one sequence, got 2"),
        ({"input_ids": np.array([[5.0]])}, "input_ids"),
        ({"input_ids": np.array([5])}, "input_ids"),
    ]:
        with pytest.raises(lathe.Error, match=words) as caught:
            generator.generate([2], inputs, max_new_tokens=4)
        assert caught.value.status == lathe.Status.INVALID_ARGUMENT
        assert generator.generate([2], good, max_new_tokens=4) == before
    with pytest.raises(lathe.Error, match="out of range") as caught:
        generator.generate([2], {"input_ids": np.array([[5, 10**6]])}, max_new_tokens=4)
    assert caught.value.status == lathe.Status.EXECUTION_ERROR
    assert generator.generate([2], good, max_new_tokens=4) == before


def test_no_generation(artifact):
    module = lathe.load(artifact("bert"))
    with pytest.raises(lathe.Error, match="no program 'step'") as caught:
        module.generate([5])
    assert caught.value.status == lathe.Status.NOT_FOUND


@pytest.mark.parametrize("name", ["bert", "distilbert", "vit", "qwen2_moe", "deepseek_v3"])
def test_refused_with_a_reason(name, lathe_tool, onnx_path, tmp_path):
    """What is no decoder, or mixes tokens in a way that is not understood, compiles as it is."""
    result = lathe_tool("compile", onnx_path(name), "-o", tmp_path / "model.lathe", "--generate", "on")
    assert result.returncode == 3 and "can't generate text: " in result.stderr
    lathe_tool.ok("compile", onnx_path(name), "-o", tmp_path / "model.lathe")
    assert list(lathe.load(tmp_path / "model.lathe").programs) == ["main"]


def test_memory_budget(module):
    """A cache out of budget is an error, and what was generated before can be generated again."""
    model = module("gpt2_nocache")
    generator = model.generator()
    prompt, long = prompts_of("gpt2_nocache", [4, 900])
    expected = generator.generate(prompt, max_new_tokens=8)
    generator.generate(prompt, max_new_tokens=8)
    assert generator.cache_bytes == 0  # of sequences that have ended nothing is kept
    limited = model.generator(memory_budget=1 << 20)
    assert limited.generate(prompt, max_new_tokens=8) == expected
    with pytest.raises(lathe.Error, match="budget") as caught:
        limited.generate(long, max_new_tokens=8)
    assert caught.value.status == lathe.Status.OVER_BUDGET
    assert limited.generate(prompt, max_new_tokens=8) == expected
    with pytest.raises(lathe.Error) as caught:
        model.generator(memory_budget=1000).generate(prompt, max_new_tokens=8)
    assert caught.value.status == lathe.Status.OVER_BUDGET


def test_listener(module):
    """Each token is told once; the answer ends a row, an exception all of them."""
    model = module("llama")
    prompts = prompts_of("llama", [3, 5])
    whole = model.generate(prompts, max_new_tokens=9)
    told = []

    def listener(row, token, log_probability):
        assert log_probability <= 0
        told.append((row, token))
        return not (row == 0 and len([x for x in told if x[0] == 0]) == 4)

    results = model.generate(prompts, max_new_tokens=9, listener=listener, return_dict_in_generate=True)
    assert [list(result.ids) for result in results] == [whole[0][:4], whole[1]]
    assert [result.finish_reason for result in results] == ["stopped", "length"]
    for row, result in enumerate(results):
        assert [token for which, token in told if which == row] == list(result.ids)

    def fails(row, token, log_probability):
        raise KeyError("enough")

    with pytest.raises(KeyError, match="enough"):
        model.generate(prompts, max_new_tokens=9, listener=fails)
    assert model.generate(prompts, max_new_tokens=9) == whole


def test_stream_of_ids(module):
    model = module("llama")
    prompts = prompts_of("llama", [3, 5])
    whole = model.generate(prompts, max_new_tokens=9)
    assert list(model.generate(prompts[0], max_new_tokens=9, stream=True)) == whole[0]
    pairs = list(model.generate(prompts, max_new_tokens=9, stream=True))
    assert [[token for row, token in pairs if row == index] for index in range(2)] == whole
    stream = model.generate(prompts[0], max_new_tokens=10**6, stream=True)
    assert [next(stream) for _ in range(5)] == whole[0][:5]
    stream.close()  # ends generation
    assert model.generate(prompts, max_new_tokens=9) == whole
    with pytest.raises(lathe.Error, match="prompt 0 has no tokens"):
        list(model.generate([], stream=True))


def test_seeds(module):
    """The same seed gives the same text for any number of threads, and whatever stands beside the prompt."""
    model = module("gpt2")
    prompts = prompts_of("gpt2", [6, 66, 3])
    settings = {"max_new_tokens": 24, "temperature": 1.2, "top_k": 50, "top_p": 0.95, "seed": 7}
    texts = model.generate(prompts, **settings)
    assert model.generator(threads=1).generate(prompts, **settings) == texts
    assert model.generator(threads=2).generate(prompts, **settings) == texts
    assert model.generate(prompts[0], **settings) == texts[0]
    assert model.generate(prompts[:2], **settings) == texts[:2]
    assert model.generate(prompts, **{**settings, "seed": 8}) != texts
    many = model.generate(prompts[0], num_return_sequences=4, **settings)
    assert many[0] == texts[0] and len({tuple(one) for one in many}) == 4


def test_temperature_zero_and_no_sampling_are_greedy(module):
    model = module("gpt2")
    prompt = prompts_of("gpt2", [6])[0]
    greedy = model.generate(prompt, max_new_tokens=8)
    assert model.generate(prompt, max_new_tokens=8, temperature=0) == greedy
    assert model.generate(prompt, max_new_tokens=8, temperature=5.0, do_sample=False) == greedy
    assert model.generate(prompt, max_new_tokens=8, top_k=1) == greedy


def test_begin_and_append(module, plain):
    """Logits of sequences that grow, in pieces of any size."""
    for name in ("gpt2", "llama_nocache"):
        tokens = np.array(prompts_of(name, [70, 70, 70]))
        generator = module(name).generator()
        generator.begin(3)
        done = 0
        for count in (1, 62, 2, 5):
            logits = generator.append(tokens[:, done : done + count])
            done += count
            for row in range(3):
                expected = plain(name).text().append(tokens[row, :done])
                np.testing.assert_allclose(logits[row], expected, atol=2e-4 * np.abs(expected).max())


def test_generators_in_threads(module):
    """Eight at once over one module: each gives what it gives alone."""
    model = module("qwen2")
    cases = [
        (prompts_of("qwen2", [3 + 9 * i, 64 - i]), {"max_new_tokens": 20, "seed": i, "do_sample": i % 2 == 1})
        for i in range(8)
    ]
    expected = [model.generator(threads=1).generate(prompts, **settings) for prompts, settings in cases]
    results = [None] * len(cases)

    def work(index):
        generator = model.generator(threads=1)
        for _ in range(3):
            results[index] = generator.generate(cases[index][0], **cases[index][1])

    threads = [threading.Thread(target=work, args=[index]) for index in range(len(cases))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == expected


@pytest.mark.parametrize("name", ["gpt2_nocache", "llama", "bart"])
def test_reference_backend(name, module, plain):
    model = module(name, "--target", "reference")
    prompts = prompts_of(name, [2, 9])
    sources = sources_of(name, [3, 7]) if name in ENCODER_DECODERS else [None, None]
    inputs = encoder_inputs(model.generator(), sources) if sources[0] else None
    expected = [plain(name).greedy(prompt, 6, source) for prompt, source in zip(prompts, sources)]
    assert model.generate(prompts, inputs, max_new_tokens=6) == expected


@pytest.mark.parametrize("name", ["gpt2_nocache", "llama_nocache"])
def test_bf16(name, module):
    """A step rounds as the model itself does when it is compiled for bf16."""
    model = module(name, "--precision", "bf16")
    prompt = prompts_of(name, [20])[0]
    generator = model.generator()
    generator.begin(1)
    logits = [generator.append([[token]])[0] for token in prompt]
    session = model.session()
    inputs = {"input_ids": np.array([prompt]), "attention_mask": np.ones((1, len(prompt)), np.int64)}
    whole = session.run(inputs)[model.outputs[0].name][0].astype(np.float32)
    for step, row in enumerate(logits):
        assert np.abs(row - whole[step]).max() <= 3e-2 * np.abs(whole[step]).max()


def test_weights_are_shared(artifact):
    """The steps add no weights: the artifact grows by code alone."""
    for name in ("gpt2_nocache", "llama_nocache", "t5", "bart", "whisper", "qwen2"):
        alone = lathe.load(artifact(name, "--generate", "off")).constants_bytes
        together = lathe.load(artifact(name, "--generate", "on")).constants_bytes
        assert together <= 1.05 * alone, name
