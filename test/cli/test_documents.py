# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Artifacts that carry their tokenizer and their generation config."""
import json
import shutil

import numpy as np
import pytest
from cli_support import INVALID_MODEL, USAGE, check_failure

PROMPT = "def main"
PAGE = 4096


@pytest.fixture(scope="session")
def config(tmp_path_factory):
    path = tmp_path_factory.mktemp("config") / "settings.json"
    path.write_text(json.dumps({"max_new_tokens": 5, "eos_token_id": None, "do_sample": True, "temperature": 1.5, "seed": 7}))
    return path


@pytest.fixture(scope="session")
def carrier(artifact, bytes_tokenizer, config):
    return artifact("llama", "--generate", "on", "--tokenizer", str(bytes_tokenizer), "--generation-config", str(config))


@pytest.fixture(scope="session")
def plain(artifact):
    return artifact("llama", "--generate", "on")


def report(lathe_tool, *arguments):
    return json.loads(lathe_tool.ok(*arguments, "--json"))


def test_generate_needs_no_files(lathe_tool, carrier, plain, bytes_tokenizer, config):
    ours = report(lathe_tool, "generate", carrier, "-p", PROMPT)["results"][0]
    given = report(lathe_tool, "generate", plain, "-p", PROMPT, "--tokenizer", bytes_tokenizer, "--generation-config", config)["results"][0]
    assert (ours["ids"], ours["text"], ours["finish"]) == (given["ids"], given["text"], "length") and len(ours["ids"]) == 5
    assert ours["prompt_ids"] == [byte + 1 for byte in PROMPT.encode()]


def test_flags_come_before_what_is_carried(lathe_tool, carrier, plain, bytes_tokenizer, config, tmp_path):
    greedy = report(lathe_tool, "generate", plain, "--tokenizer", bytes_tokenizer, "-p", PROMPT, "-n", "6", "--ignore-eos")["results"][0]
    assert report(lathe_tool, "generate", carrier, "-p", PROMPT, "-n", "6", "--temperature", "0")["results"][0]["ids"] == greedy["ids"]
    end = greedy["ids"][2]
    other = tmp_path / "ends.json"
    other.write_text(json.dumps({"eos_token_id": end}))
    result = report(lathe_tool, "generate", carrier, "-p", PROMPT, "-n", "6", "--generation-config", other)["results"][0]
    assert result["finish"] == "end_token" and result["ids"] == greedy["ids"][: greedy["ids"].index(end) + 1]
    # A tokenizer with another id for each byte.
    file = json.loads(bytes_tokenizer.read_text())
    words = list(file["model"]["vocab"])
    file["model"]["vocab"] = {word: 0 if i == 0 else len(words) - i for i, word in enumerate(words)}
    (tmp_path / "tokenizer.json").write_text(json.dumps(file))
    flags = ("generate", carrier, "--tokenizer", tmp_path / "tokenizer.json", "-p", PROMPT)
    result = report(lathe_tool, *flags)["results"][0]
    assert result["prompt_ids"] == [len(words) - byte - 1 for byte in PROMPT.encode()]
    assert len(result["ids"]) == 5, "there is no config beside that tokenizer"
    (tmp_path / "generation_config.json").write_text('{"max_new_tokens": 2, "eos_token_id": []}')
    assert len(report(lathe_tool, *flags)["results"][0]["ids"]) == 2, "what lies beside it counts"


def test_the_config_beside_the_tokenizer_is_taken(lathe_tool, onnx_path, bytes_tokenizer, tmp_path):
    shutil.copyfile(bytes_tokenizer, tmp_path / "tokenizer.json")
    (tmp_path / "generation_config.json").write_text('{"max_new_tokens": 3, "eos_token_id": []}')
    lathe_tool.ok("compile", onnx_path("llama"), "-o", tmp_path / "m.lathe", "--tokenizer", tmp_path / "tokenizer.json")
    assert report(lathe_tool, "generate", tmp_path / "m.lathe", "-p", PROMPT)["generated_tokens"] == 3


def test_perplexity_and_tokenize(lathe_tool, carrier, plain, bytes_tokenizer, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(PROMPT * 5)
    ours = report(lathe_tool, "perplexity", carrier, "--text", text, "--context", "16")
    given = report(lathe_tool, "perplexity", plain, "--text", text, "--context", "16", "--tokenizer", bytes_tokenizer)
    assert ours["perplexity"] == given["perplexity"]
    check_failure(lathe_tool("perplexity", plain, "--text", text), USAGE, "carries none", "--tokenizer")
    printed = lathe_tool.ok("tokenize", carrier, "--text", PROMPT)
    assert printed == lathe_tool.ok("tokenize", bytes_tokenizer, "--text", PROMPT)
    np.save(tmp_path / "ids.npy", np.array(printed.split(), np.int64))
    assert lathe_tool.ok("tokenize", carrier, "--decode", tmp_path / "ids.npy") == PROMPT
    check_failure(lathe_tool("tokenize", plain, "--text", PROMPT), USAGE, "carries no tokenizer")
    check_failure(lathe_tool("generate", plain, "-p", PROMPT), USAGE, "carries none", "--tokenizer")


def test_inspect(lathe_tool, carrier, plain, bytes_tokenizer, config):
    described = report(lathe_tool, "inspect", carrier, "--verify")
    assert described["tokenizer"] == {"format": "tokenizer.json", "bytes": bytes_tokenizer.stat().st_size}
    assert described["generation_config"] == json.loads(config.read_text())
    printed = lathe_tool.ok("inspect", carrier)
    assert "tokenizer      tokenizer.json, 0." in printed and 'generation     {"max_new_tokens":5,' in printed
    described = report(lathe_tool, "inspect", plain)
    assert described["tokenizer"] is None and described["generation_config"] is None
    assert "tokenizer" not in lathe_tool.ok("inspect", plain)


def test_corruption_is_found(lathe_tool, carrier, tmp_path):
    content = bytearray(carrier.read_bytes())
    at = content.index(b'"added_tokens"')
    content[at + 1] ^= 1
    path = tmp_path / "corrupt.lathe"
    path.write_bytes(content)
    check_failure(lathe_tool("inspect", path, "--verify"), INVALID_MODEL, "document.tokenizer", "corrupt")
    check_failure(lathe_tool("generate", path, "-p", PROMPT), INVALID_MODEL, "document.tokenizer", "corrupt")
    check_failure(lathe_tool("tokenize", path, "--text", PROMPT), INVALID_MODEL, "document.tokenizer", "corrupt")


@pytest.mark.parametrize(
    "flag, content, code, words",
    [
        ("--tokenizer", None, USAGE, ["cannot open", "file.json"]),
        ("--tokenizer", "", INVALID_MODEL, ["file.json", "tokenizer"]),
        ("--tokenizer", "{}", INVALID_MODEL, ["file.json", "'model'"]),
        ("--tokenizer", '{"model": {"type": "Magic"}}', INVALID_MODEL, ["file.json", "'Magic' is not supported"]),
        ("--generation-config", None, USAGE, ["cannot open", "file.json"]),
        ("--generation-config", "", USAGE, ["file.json", "not valid JSON"]),
        ("--generation-config", "[1]", USAGE, ["file.json", "must be a JSON object", "[1]"]),
        ("--generation-config", "[" * 100000, USAGE, ["file.json", "nested"]),
        ("--generation-config", '{"top_k": "many"}', USAGE, ["file.json", "top_k must be an integer", "many"]),
        ("--generation-config", '{"top_p": 2}', USAGE, ["file.json", "top_p"]),
    ],
)
def test_broken_files_are_refused(fails_to_compile, linear_onnx, tmp_path, flag, content, code, words):
    path = tmp_path / "file.json"
    if content is not None:
        path.write_text(content)
    fails_to_compile(linear_onnx, code, *words, flags=(flag, path))


def test_only_artifacts_carry_files(lathe_tool, linear_onnx, bytes_tokenizer, tmp_path):
    flags = ("compile", linear_onnx, "-o", tmp_path / "m.mlir", "--emit", "mlir", "--tokenizer", bytes_tokenizer)
    check_failure(lathe_tool(*flags), USAGE, "--emit mlir")


def test_files_of_a_page(lathe_tool, linear_onnx, bytes_tokenizer, tmp_path):
    """With and without room for the zero behind them."""
    for size in (PAGE - 1, PAGE, PAGE + 1):
        text = '{"max_new_tokens": 3' + " " * (size - 21) + "}"
        assert len(text) == size
        (tmp_path / "config.json").write_text(text)
        lathe_tool.ok("compile", linear_onnx, "-o", tmp_path / "m.lathe", "--generation-config", tmp_path / "config.json")
        assert report(lathe_tool, "inspect", tmp_path / "m.lathe")["generation_config"] == {"max_new_tokens": 3}


def test_sentencepiece(lathe_tool, onnx_path, tmp_path):
    import sentencepiece

    corpus = tmp_path / "corpus.txt"
    corpus.write_text("one two three four five six seven\n" * 20)
    sentencepiece.SentencePieceTrainer.train(
        input=str(corpus), model_prefix=str(tmp_path / "spiece"), vocab_size=40, hard_vocab_limit=False, minloglevel=2
    )
    model = tmp_path / "spiece.model"
    lathe_tool.ok("compile", onnx_path("llama"), "-o", tmp_path / "m.lathe", "--tokenizer", model)
    assert report(lathe_tool, "inspect", tmp_path / "m.lathe")["tokenizer"]["format"] == "sentencepiece"
    assert lathe_tool.ok("tokenize", tmp_path / "m.lathe", "--text", "two one") == lathe_tool.ok("tokenize", model, "--text", "two one")
    assert len(report(lathe_tool, "generate", tmp_path / "m.lathe", "-p", "two one", "-n", "3", "--ignore-eos")["results"][0]["ids"]) == 3
