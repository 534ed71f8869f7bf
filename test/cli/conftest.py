# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share."""
import json

import numpy as np
import pytest
from cli_support import check_failure, linear


@pytest.fixture
def fails_to_compile(lathe_tool, tmp_path):
    """fails_to_compile(model, code, words…): also that neither output nor temporary file is left."""
    folder = tmp_path / "out"
    folder.mkdir()

    def compile_it(model, code, *words, flags=()):
        check_failure(lathe_tool("compile", model, "-o", folder / "m.lathe", *flags), code, *words)
        assert list(folder.iterdir()) == []

    return compile_it


@pytest.fixture(scope="session")
def linear_onnx(tmp_path_factory):
    return linear(tmp_path_factory.mktemp("linear") / "linear.onnx")


@pytest.fixture(scope="session")
def linear_artifact(lathe_tool, linear_onnx):
    """The linear model, compiled for batches of 1 to 4."""
    path = linear_onnx.with_suffix(".lathe")
    lathe_tool.ok("compile", linear_onnx, "-o", path, "--dim", "batch=1..4")
    return path


def byte_symbols():
    """The characters that byte-level tokenizers write bytes as."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) if byte in printable else chr(256 + others.index(byte)) for byte in range(256)]


@pytest.fixture(scope="session")
def bytes_tokenizer(tmp_path_factory):
    """Token 0 ends texts, 1 to 256 are bytes, and the others of the models' vocabulary are words of their own."""
    words = byte_symbols() + [f"w{i}" for i in range(257, 1000)]
    file = {
        "added_tokens": [{"id": 0, "content": "<eos>", "special": True, "normalized": False}],
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "decoder": {"type": "ByteLevel"},
        "model": {"type": "BPE", "vocab": {"<eos>": 0, **{word: i + 1 for i, word in enumerate(words)}}, "merges": []},
    }
    path = tmp_path_factory.mktemp("bytes") / "tokenizer.json"
    path.write_text(json.dumps(file))
    return path


@pytest.fixture
def npz(tmp_path):
    """npz(x=array, …) is the path of a file with these arrays."""

    def write(**arrays):
        path = tmp_path / "in.npz"
        np.savez(path, **arrays)
        return path

    return write
