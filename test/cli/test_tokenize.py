# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""lathe tokenize: what it prints and writes, and its failures."""
import json

import numpy as np
import pytest
from cli_support import INVALID_MODEL, USAGE, check_failure

TEXT = "a b<eos> bab"


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory):
    """A small byte-level tokenizer; G with a dot is a blank."""
    vocabulary = ["<eos>", "a", "b", "\u0120", "ab", "\u0120b", "bab"]
    file = {
        "added_tokens": [{"id": 0, "content": "<eos>", "special": True, "normalized": False}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "<eos>", "type_id": 0}}],
            "pair": [],
            "special_tokens": {"<eos>": {"id": "<eos>", "ids": [0], "tokens": ["<eos>"]}},
        },
        "decoder": {"type": "ByteLevel"},
        "model": {
            "type": "BPE",
            "vocab": {token: i for i, token in enumerate(vocabulary)},
            "merges": ["a b", "\u0120 b", "b ab"],
        },
    }
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    path.write_text(json.dumps(file))
    return path


def test_prints_ids(lathe_tool, tokenizer_file):
    assert lathe_tool.ok("tokenize", tokenizer_file, "--text", TEXT) == "1 5 0 5 4 0\n"
    assert lathe_tool.ok("tokenize", tokenizer_file, "--text", TEXT, "--no-special") == "1 5 0 5 4\n"
    assert lathe_tool.ok("tokenize", tokenizer_file, "--text", "") == "0\n"
    assert lathe_tool.ok("tokenize", tokenizer_file, "--text", "", "--no-special") == "\n"


def test_reads_files_and_standard_input(lathe_tool, tokenizer_file, tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode())
    assert lathe_tool.ok("tokenize", tokenizer_file, "--file", path) == "1 5 0 5 4 0\n"
    with open(path) as stdin:
        assert lathe_tool.ok("tokenize", tokenizer_file, stdin=stdin) == "1 5 0 5 4 0\n"


def test_json(lathe_tool, tokenizer_file):
    report = json.loads(lathe_tool.ok("tokenize", tokenizer_file, "--text", TEXT, "--json"))
    assert report["ids"] == [1, 5, 0, 5, 4, 0] and report["count"] == 6 and report["vocabulary_size"] == 7
    assert report["tokens"] == ["a", "\u0120b", "<eos>", "\u0120b", "ab", "<eos>"]


def test_ids_there_and_back(lathe_tool, tokenizer_file, tmp_path):
    ids = tmp_path / "ids.npy"
    assert lathe_tool.ok("tokenize", tokenizer_file, "--text", TEXT, "--ids", ids) == "6 tokens\n"
    array = np.load(ids)
    assert array.dtype == np.int64 and array.tolist() == [1, 5, 0, 5, 4, 0]
    assert lathe_tool.ok("tokenize", tokenizer_file, "--decode", ids) == TEXT + "<eos>"
    assert lathe_tool.ok("tokenize", tokenizer_file, "--decode", ids, "--no-special") == "a b bab"
    report = json.loads(lathe_tool.ok("tokenize", tokenizer_file, "--decode", ids, "--json"))
    assert report == {"text": TEXT + "<eos>"}
    for dtype in (np.int32, np.uint8, np.uint16):
        np.save(ids, array.astype(dtype))
        assert lathe_tool.ok("tokenize", tokenizer_file, "--decode", ids) == TEXT + "<eos>"


def test_usage_errors(lathe_tool, tokenizer_file, tmp_path):
    text, ids = tmp_path / "t.txt", tmp_path / "ids.npy"
    text.write_text("a")
    np.save(ids, np.arange(3))
    tool = lathe_tool
    check_failure(tool("tokenize", tmp_path / "no.json", "--text", "a"), USAGE, "does not exist")
    check_failure(tool("tokenize", tmp_path, "--text", "a"), USAGE, "cannot read")
    check_failure(tool("tokenize", tokenizer_file, "--file", tmp_path / "no.txt"), USAGE, "cannot open")
    check_failure(tool("tokenize", tokenizer_file, "--text", "a", "--file", text), USAGE, "give one of")
    check_failure(tool("tokenize", tokenizer_file, "--text", "a", "--decode", ids), USAGE, "give one of")
    check_failure(tool("tokenize", tokenizer_file, "--ids", ids, "--decode", ids), USAGE, "give one of")
    for array in (np.zeros((1, 2), np.int64), np.zeros(2, np.float32)):
        np.save(ids, array)
        check_failure(tool("tokenize", tokenizer_file, "--decode", ids), USAGE, "one row of integers")
    np.save(ids, np.array([1, -1]))
    check_failure(tool("tokenize", tokenizer_file, "--decode", ids), USAGE, "ids of tokens", "at 1")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda file: file.pop("model"), ["no tokenizer.json", "'model'"]),
        (lambda file: file["model"].update(type="Magic"), ["model.type", "'Magic' is not supported"]),
        (lambda file: file["model"].update(dropout=0.5), ["model.dropout", "not supported"]),
        (lambda file: file["model"].update(merges=["a c"]), ["model.merges[0]", "a c"]),
        (lambda file: file["model"]["vocab"].update(x=-1), ["model.vocab.x", "-1"]),
        (lambda file: file.update(normalizer={"type": "Nothing"}), ["normalizer.type", "'Nothing' is not supported"]),
        (lambda file: file.update(pre_tokenizer={"type": "X"}), ["pre_tokenizer.type", "'X' is not supported"]),
        (lambda file: file.update(decoder={"type": "X"}), ["decoder.type", "'X' is not supported"]),
        (lambda file: file.update(post_processor={"type": "X"}), ["post_processor.type", "'X' is not supported"]),
        (
            lambda file: file.update(
                pre_tokenizer={"type": "Split", "pattern": {"Regex": "(a"}, "behavior": "Isolated", "invert": False}
            ),
            ["pre_tokenizer.pattern", "'(a'"],
        ),
    ],
)
def test_what_a_file_must_not_ask_for(lathe_tool, tokenizer_file, tmp_path, change, words):
    file = json.loads(tokenizer_file.read_text())
    change(file)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(file))
    check_failure(lathe_tool("tokenize", path, "--text", "a"), INVALID_MODEL, "changed.json", *words)


def test_no_tokenizer_at_all(lathe_tool, tmp_path):
    path = tmp_path / "t"
    for content in (b"", b"\n", b"{", b"[]", b"\x0a\x05abc", b"\xff" * 100):
        path.write_bytes(content)
        check_failure(lathe_tool("tokenize", path, "--text", "a"), INVALID_MODEL, "tokenizer")
