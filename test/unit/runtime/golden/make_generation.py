# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes what transformers answers to the questions of SamplerTest.cpp and BeamSearchTest.cpp, beside this file:

    python test/unit/runtime/golden/make_generation.py

Needs transformers and torch; written with transformers 5.23 and torch 2.15. `sampling.json` has distributions after all
processors and warpers for rows of logits; `generation.json` has texts of a model that is two tables: its logits are
`table[last token] + position[length % positions]`.
"""
import json
from pathlib import Path

import numpy as np
import torch
from transformers import GenerationConfig, GenerationMixin, LogitsProcessor, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput

HERE = Path(__file__).resolve().parent
OURS = ("frequency_penalty", "presence_penalty")  # not in transformers


class FakeConfig(PretrainedConfig):
    model_type = "two_tables"

    def __init__(self, vocab_size=8, **kwargs):
        self.vocab_size = vocab_size
        super().__init__(**kwargs)


class Fake(PreTrainedModel, GenerationMixin):
    config_class = FakeConfig
    main_input_name = "input_ids"

    def __init__(self, table, position):
        super().__init__(FakeConfig(vocab_size=len(table)))
        self.table = torch.nn.Parameter(torch.tensor(table, dtype=torch.float32))
        self.position = torch.tensor(position, dtype=torch.float32)

    def forward(self, input_ids, attention_mask=None, return_dict=True):
        lengths = torch.arange(1, input_ids.shape[1] + 1)
        return CausalLMOutput(logits=self.table[input_ids] + self.position[lengths % len(self.position)])

    def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **_):
        return {"input_ids": input_ids, "attention_mask": attention_mask}


class Frequencies(LogitsProcessor):
    """The frequency and presence penalties of OpenAI's API, of the generated tokens."""

    def __init__(self, prompt, frequency, presence):
        self.prompt, self.frequency, self.presence = prompt, frequency, presence

    def __call__(self, input_ids, scores):
        counts = torch.zeros_like(scores)
        for row, tokens in enumerate(input_ids[:, self.prompt :].tolist()):
            for token in tokens:
                counts[row, token] += 1
        return scores - counts * self.frequency - (counts > 0) * self.presence


def number(value):
    """Exactly the float, in few digits; infinity is no JSON."""
    value = float(value)
    return None if value == -np.inf else float(np.format_float_positional(np.float32(value), unique=True))


# Parameters, with what was generated after the prompt in numbers of tokens.
SAMPLING = [
    ({}, 0),
    ({"repetition_penalty": 1.3}, 4),
    ({"repetition_penalty": 0.7}, 3),
    ({"frequency_penalty": 0.5}, 8),
    ({"presence_penalty": 0.75}, 8),
    ({"frequency_penalty": -0.5, "presence_penalty": 1.5, "repetition_penalty": 1.1}, 9),
    ({"no_repeat_ngram_size": 1}, 5),
    ({"no_repeat_ngram_size": 2}, 12),
    ({"no_repeat_ngram_size": 3}, 14),
    ({"encoder_repetition_penalty": 1.5}, 2),
    ({"encoder_no_repeat_ngram_size": 2}, 10),
    ({"bad_words_ids": [[3], [5, 7], [1], [0, 2, 4]], "eos_token_id": 1}, 2),
    ({"sequence_bias": [[[3], 2.5], [[0, 9], -4.0], [[0], -1.25], [[3], 0.5]]}, 3),
    ({"sequence_bias": [[[0, 9], 1.5], [[1, 0, 9], 0.25], [[9], 1.0]], "end": [1, 0]}, 3),
    ({"bad_words_ids": [[1, 0, 9], [0, 8]], "end": [1, 0]}, 3),
    ({"suppress_tokens": [0, 4, 31]}, 1),
    ({"begin_suppress_tokens": [2, 6]}, 0),
    ({"begin_suppress_tokens": [2, 6]}, 1),
    ({"forced_bos_token_id": 7, "prompt": 1}, 0),
    ({"forced_bos_token_id": 7, "begin_suppress_tokens": [3], "prompt": 1}, 0),
    ({"forced_bos_token_id": 7, "begin_suppress_tokens": [3], "prompt": 1}, 1),
    ({"forced_eos_token_id": [2, 5], "max_new_tokens": 4}, 3),
    ({"forced_eos_token_id": 2, "max_new_tokens": 4}, 2),
    ({"forced_eos_token_id": 2, "max_length": 6}, 2),
    ({"min_new_tokens": 3, "eos_token_id": [1, 30]}, 2),
    ({"min_new_tokens": 3, "eos_token_id": [1, 30]}, 3),
    ({"min_length": 7, "eos_token_id": 1}, 2),
    ({"min_length": 6, "eos_token_id": 1}, 2),
    ({"exponential_decay_length_penalty": [2, 1.2], "eos_token_id": [1, 4]}, 2),
    ({"exponential_decay_length_penalty": [2, 1.2], "eos_token_id": [1, 4]}, 6),
    ({"remove_invalid_values": True, "suppress_tokens": [1]}, 2),
    ({"do_sample": True, "top_k": 0}, 0),
    ({"do_sample": True, "top_k": 0, "temperature": 0.5}, 0),
    ({"do_sample": True, "top_k": 0, "temperature": 7.5}, 0),
    ({"do_sample": True, "top_k": 5}, 0),
    ({"do_sample": True, "top_k": 5, "ties": True}, 0),
    ({"do_sample": True, "top_k": 1}, 0),
    ({"do_sample": True, "top_k": 1000}, 0),
    ({"do_sample": True, "top_k": 0, "top_p": 0.9}, 0),
    ({"do_sample": True, "top_k": 0, "top_p": 0.9, "temperature": 3.0}, 0),
    ({"do_sample": True, "top_k": 0, "top_p": 0.01}, 0),
    ({"do_sample": True, "top_k": 0, "top_p": 0.999}, 0),
    ({"do_sample": True, "top_k": 8, "top_p": 0.8}, 0),
    ({"do_sample": True, "top_k": 0, "min_p": 0.1}, 0),
    ({"do_sample": True, "top_k": 0, "min_p": 1.0}, 0),
    ({"do_sample": True, "top_k": 0, "typical_p": 0.5}, 0),
    ({"do_sample": True, "top_k": 0, "typical_p": 0.95, "temperature": 2.0}, 0),
    ({"do_sample": True, "top_k": 0, "epsilon_cutoff": 0.05}, 0),
    ({"do_sample": True, "top_k": 0, "epsilon_cutoff": 0.9}, 0),
    ({"do_sample": True, "top_k": 0, "eta_cutoff": 0.1}, 0),
    ({"do_sample": True, "top_k": 20, "top_p": 0.95, "min_p": 0.02, "typical_p": 0.9, "temperature": 1.7}, 0),
    ({"do_sample": True, "top_k": 12, "typical_p": 0.2, "epsilon_cutoff": 0.02, "eta_cutoff": 0.02}, 0),
    (
        {
            "do_sample": True,
            "temperature": 0.8,
            "top_k": 10,
            "top_p": 0.95,
            "repetition_penalty": 1.2,
            "frequency_penalty": 0.3,
            "presence_penalty": 0.2,
            "no_repeat_ngram_size": 2,
            "bad_words_ids": [[8], [9, 10]],
            "min_new_tokens": 20,
            "eos_token_id": [3],
            "suppress_tokens": [11],
        },
        10,
    ),
]


def prepared(model, config, prompt):
    """What `generate` does to the parameters before it makes the processors."""
    config = GenerationConfig(**{"max_length": None, **config})
    if config.max_new_tokens is not None:
        config.max_length = prompt + config.max_new_tokens
    elif config.max_length is None:
        config.max_length = prompt + 20
    for name, value in GenerationConfig._get_default_generation_params().items():
        if getattr(config, name, None) is None:
            setattr(config, name, value)
    model._prepare_special_tokens(config, True, device="cpu")
    return config


def distribution(model, parameters, prompt, encoder, tokens, logits):
    config = prepared(model, {k: v for k, v in parameters.items() if k not in OURS}, prompt)
    own = []
    if any(name in parameters for name in OURS):
        own = [Frequencies(prompt, *(parameters.get(name, 0) for name in OURS))]
    processors = model._get_logits_processor(
        config,
        input_ids_seq_length=prompt,
        encoder_input_ids=torch.tensor([encoder]),
        logits_processor=own,
        device="cpu",
        model_kwargs={},
    )
    scores = processors(torch.tensor([tokens]), torch.tensor([logits], dtype=torch.float32))
    return torch.log_softmax(scores.double(), dim=-1)[0]


def sampling():
    random = np.random.default_rng(7)
    vocabulary = 32
    model = Fake(np.zeros((vocabulary, vocabulary)), np.zeros((1, vocabulary)))
    cases = []
    for parameters, generated in SAMPLING:
        parameters = dict(parameters)
        prompt = parameters.pop("prompt", 4)
        end = parameters.pop("end", [])
        ties = parameters.pop("ties", False)
        for _ in range(2):
            # Few tokens, so that they repeat.
            tokens = random.integers(0, 6, prompt + generated).tolist()
            tokens[len(tokens) - len(end) :] = end
            encoder = random.integers(0, 6, 12).tolist()
            logits = np.round(random.normal(0, 3, vocabulary) * 256) / 256
            if ties:
                logits = np.round(logits)
            result = distribution(model, parameters, prompt, encoder, tokens, logits.tolist())
            cases.append(
                {
                    "config": parameters,
                    "prompt_length": prompt,
                    "tokens": tokens,
                    "encoder_tokens": encoder,
                    "logits": logits.tolist(),
                    "log_probabilities": [number(value) for value in result],
                }
            )
    return cases


GENERATION = [
    {"max_new_tokens": 12},
    {"max_new_tokens": 12, "repetition_penalty": 1.5},
    {"max_new_tokens": 12, "no_repeat_ngram_size": 2, "min_new_tokens": 6},
    {"num_beams": 2, "max_new_tokens": 8},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4, "early_stopping": True},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4, "early_stopping": "never"},
    {"num_beams": 3, "max_new_tokens": 14, "num_return_sequences": 2, "length_penalty": 2.0},
    {"num_beams": 3, "max_new_tokens": 14, "num_return_sequences": 3, "length_penalty": 2.0, "early_stopping": "never"},
    {"num_beams": 3, "max_new_tokens": 14, "num_return_sequences": 3, "length_penalty": -1.0},
    {"num_beams": 3, "max_new_tokens": 14, "num_return_sequences": 3, "length_penalty": 0.0, "early_stopping": "never"},
    {"num_beams": 5, "max_length": 9, "num_return_sequences": 5, "length_penalty": 0.6, "early_stopping": True},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4, "eos_token_id": [1, 4, 7]},
    {"num_beams": 4, "max_new_tokens": 6, "num_return_sequences": 4, "eos_token_id": None},
    {"num_beams": 4, "max_new_tokens": 1, "num_return_sequences": 4},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4, "repetition_penalty": 1.4},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 2, "no_repeat_ngram_size": 2, "early_stopping": True},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4, "min_new_tokens": 5},
    {"num_beams": 4, "max_new_tokens": 8, "num_return_sequences": 4, "forced_eos_token_id": 1},
    {"num_beams": 4, "max_new_tokens": 8, "num_return_sequences": 4, "forced_bos_token_id": 6, "prompt": 1},
    {"num_beams": 4, "max_new_tokens": 8, "num_return_sequences": 4, "bad_words_ids": [[3], [2, 5]]},
    {"num_beams": 4, "max_new_tokens": 8, "num_return_sequences": 4, "renormalize_logits": True, "suppress_tokens": [2, 3]},
    {"num_beams": 4, "max_new_tokens": 10, "num_return_sequences": 4, "exponential_decay_length_penalty": [3, 1.3]},
]


def generation():
    random = np.random.default_rng(11)
    vocabulary = 12
    result = []
    for scale in (1.0, 3.0):
        table = np.round(random.normal(0, scale, (vocabulary, vocabulary)) * 256) / 256
        position = np.round(random.normal(0, scale / 2, (5, vocabulary)) * 256) / 256
        model = Fake(table, position).eval()
        cases = []
        for parameters in GENERATION:
            parameters = dict(parameters)
            prompt = random.integers(2, vocabulary, parameters.pop("prompt", 3)).tolist()
            parameters = {"eos_token_id": 1, "pad_token_id": 0, **parameters}
            config = GenerationConfig(
                **parameters, use_cache=False, return_dict_in_generate=True, output_scores=True, do_sample=False
            )
            tokens = torch.tensor([prompt])
            with torch.no_grad():
                output = model.generate(tokens, attention_mask=torch.ones_like(tokens), generation_config=config)
            case = {"config": parameters, "prompt": prompt, "sequences": output.sequences.tolist()}
            if parameters.get("num_beams", 1) > 1:
                case["scores"] = [number(value) for value in output.sequences_scores]
            cases.append(case)
        result.append({"table": table.tolist(), "position": position.tolist(), "cases": cases})
    return result


def write(name, cases):
    """One case a line."""
    text = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    (HERE / name).write_text(f"[\n{text}\n]\n")


if __name__ == "__main__":
    write("sampling.json", sampling())
    write("generation.json", generation())
