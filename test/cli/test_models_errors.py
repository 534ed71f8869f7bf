# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What `lathe check` and `lathe compile` say about models that they cannot take."""
import os
from pathlib import Path

import numpy as np
import pytest
from cli_support import INVALID_MODEL, USAGE, check_failure, external, linear, save
from onnx import helper

BERT = Path(__file__).resolve().parents[1] / "models" / "data" / "bert.onnx"


def test_missing_file(lathe_tool, fails_to_compile, tmp_path):
    fails_to_compile(tmp_path / "nowhere.onnx", USAGE, "nowhere.onnx")
    check_failure(lathe_tool("check", tmp_path / "nowhere.onnx"), USAGE, "nowhere.onnx")


def test_text_file(lathe_tool, fails_to_compile, tmp_path):
    path = tmp_path / "text.onnx"
    path.write_text("this is not a model\n" * 100)
    fails_to_compile(path, INVALID_MODEL, "text.onnx")
    check_failure(lathe_tool("check", path), INVALID_MODEL, "text.onnx")


@pytest.mark.parametrize("share", [0.0, 1e-5, 1e-4, 0.01, 0.3, 0.7, 0.99, 0.99999])
def test_truncated(share, lathe_tool, fails_to_compile, tmp_path):
    path = tmp_path / "cut.onnx"
    whole = BERT.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    fails_to_compile(path, INVALID_MODEL, "cut.onnx")
    check_failure(lathe_tool("check", path), INVALID_MODEL, "cut.onnx")


def test_folder(fails_to_compile, tmp_path):
    folder = tmp_path / "folder.onnx"
    folder.mkdir()
    fails_to_compile(folder, INVALID_MODEL, "folder.onnx")


def test_external_data(lathe_tool, tmp_path):
    """The good case, so that the bad ones fail for their own reason."""
    (tmp_path / "weight.bin").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    model = linear(tmp_path / "m.onnx", external("weight", [4, 3], "weight.bin"))
    lathe_tool.ok("compile", model, "-o", tmp_path / "m.lathe")


def test_external_data_missing(fails_to_compile, tmp_path):
    model = linear(tmp_path / "m.onnx", external("weight", [4, 3], "weight.bin"))
    fails_to_compile(model, INVALID_MODEL, "weight.bin")


@pytest.mark.parametrize("size, offset, length", [(47, 0, 48), (0, 0, 48), (48, 16, 48), (100, 0, 44), (48, 2**62, 48)])
def test_external_data_too_short(size, offset, length, fails_to_compile, tmp_path):
    (tmp_path / "weight.bin").write_bytes(bytes(size))
    model = linear(tmp_path / "m.onnx", external("weight", [4, 3], "weight.bin", offset, length))
    fails_to_compile(model, INVALID_MODEL, "weight")


@pytest.mark.parametrize("location", ["../../etc/passwd", "../secret.bin", "a/../../secret.bin", "{absolute}"])
def test_external_data_outside_the_folder(location, fails_to_compile, tmp_path):
    folder = tmp_path / "model"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret.bin").write_bytes(bytes(48))
    location = location.format(absolute=tmp_path / "secret.bin")
    model = linear(folder / "m.onnx", external("weight", [4, 3], location))
    fails_to_compile(model, INVALID_MODEL, "weight")


def test_external_data_link_out_of_the_folder(fails_to_compile, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "secret.bin").write_bytes(bytes(48))
    os.symlink(tmp_path / "secret.bin", folder / "weight.bin")
    fails_to_compile(linear(folder / "m.onnx", external("weight", [4, 3], "weight.bin")), INVALID_MODEL, "weight")


def test_linked_model_finds_its_data(lathe_tool, tmp_path):
    """As in the caches of model hubs: both files are links into one folder."""
    blobs, view = tmp_path / "blobs", tmp_path / "view"
    blobs.mkdir()
    view.mkdir()
    (blobs / "d").write_bytes(np.arange(12, dtype=np.float32).tobytes())
    linear(blobs / "m", external("weight", [4, 3], "weight.bin"))
    os.symlink(blobs / "m", view / "m.onnx")
    os.symlink(blobs / "d", view / "weight.bin")
    lathe_tool.ok("compile", view / "m.onnx", "-o", tmp_path / "m.lathe")


@pytest.fixture
def three_unsupported(tmp_path):
    nodes = [
        helper.make_node("TfIdfVectorizer", ["x"], ["a"], name="node_tfidf"),
        helper.make_node("StringSplit", ["x"], ["b"], name="node_split"),
        helper.make_node("Wobble", ["x"], ["c"], name="node_wobble", domain="com.example"),
        helper.make_node("Add", ["a", "c"], ["y"], name="node_add"),
    ]
    opsets = (("", 20), ("com.example", 1))
    return save(tmp_path / "m.onnx", nodes, [("x", [4, 4])], [("y", [4, 4]), ("b", ["n"])], opsets=opsets)


def test_every_unsupported_operator_is_listed(three_unsupported, lathe_tool, fails_to_compile):
    names = ["node_tfidf", "TfIdfVectorizer", "node_split", "StringSplit", "node_wobble", "Wobble", "com.example"]
    fails_to_compile(three_unsupported, INVALID_MODEL, *names)
    result = lathe_tool("check", three_unsupported)
    assert result.returncode == INVALID_MODEL
    for name in names:
        assert name in result.stdout + result.stderr
    assert "node_add" not in result.stderr


def test_check_accepts_what_compiles(lathe_tool, linear_onnx):
    lathe_tool.ok("check", linear_onnx)
    lathe_tool.ok("check", BERT)


@pytest.mark.parametrize(
    "flags, word",
    [
        (["--dim", "nosuch=1..4"], "nosuch"),
        (["--dim", "batch=4..1"], "batch"),
        (["--dim", "batch"], "batch"),
        (["--target", "abacus"], "abacus"),
        (["--no-such-option"], "no-such-option"),
    ],
)
def test_usage(flags, word, linear_onnx, fails_to_compile):
    fails_to_compile(linear_onnx, USAGE, word, flags=flags)


@pytest.mark.parametrize("arguments", [[], ["no-such-command"], ["compile"], ["run"]])
def test_command_line(arguments, lathe_tool):
    assert lathe_tool(*arguments).returncode == USAGE


def test_help(lathe_tool):
    text = lathe_tool.ok("--help")
    for command in ("check", "compile", "run", "bench", "inspect"):
        assert command in text
        assert lathe_tool.ok(command, "--help")
