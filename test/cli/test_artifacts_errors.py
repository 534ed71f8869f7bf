# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What the commands say about damaged artifacts. The layout is runtime/ArtifactFormat.h."""
import struct

import numpy as np
import pytest
from cli_support import INVALID_MODEL, USAGE, check_failure

HEADER = struct.Struct("<8sIIQQ16s16x")
SECTION = struct.Struct("<I4x32sQQQ16s")


def sections(data):
    """(name, offset, size, padded size) of every section."""
    _, _, count, _, _, _ = HEADER.unpack_from(data)
    for index in range(count):
        _, name, offset, size, padded, _ = SECTION.unpack_from(data, HEADER.size + index * SECTION.size)
        yield name.rstrip(b"\0").decode(), offset, size, padded


@pytest.fixture
def damaged(lathe_tool, linear_artifact, npz, tmp_path):
    """damaged(bytes, words…): every command refuses the file, and run writes nothing."""
    folder = tmp_path / "out"
    folder.mkdir()
    inputs = npz(x=np.ones((2, 4), np.float32))
    path = tmp_path / "damaged.lathe"

    def refused(data, *words):
        path.write_bytes(data)
        out = folder / "y.npz"
        for command in (
            ["run", path, "--inputs", inputs, "--outputs", out, "--verify"],
            ["inspect", path, "--verify"],
            ["bench", path, "--verify"],
        ):
            check_failure(lathe_tool(*command), INVALID_MODEL, "damaged.lathe", *words)
        assert list(folder.iterdir()) == []

    return refused


@pytest.mark.parametrize("command", ["run", "bench", "inspect"])
def test_missing(command, lathe_tool, tmp_path):
    check_failure(lathe_tool(command, tmp_path / "nowhere.lathe"), USAGE, "nowhere.lathe")


def test_text_file(damaged):
    damaged(b"this is not an artifact\n" * 100)


def test_empty_file(damaged):
    damaged(b"")


def test_truncated(damaged, linear_artifact):
    data = linear_artifact.read_bytes()
    cuts = {1, 7, 8, 63, 64, 65, 200, 4095, 4096, 4097, len(data) // 2, len(data) - 4096, len(data) - 1}
    for _, offset, size, padded in sections(data):
        cuts |= {offset, offset + 1, offset + size // 2, offset + size, offset + padded - 1}
    for cut in sorted(cut for cut in cuts if cut < len(data)):
        damaged(data[:cut])


def test_longer(damaged, linear_artifact):
    damaged(linear_artifact.read_bytes() + b"\0")


def test_flipped_byte(damaged, linear_artifact):
    """In the header, the table, and at the start, middle, end and padding of each section."""
    data = linear_artifact.read_bytes()
    found = list(sections(data))
    assert {name.split(".")[0] for name, *_ in found} == {"manifest", "code", "constants"}
    places = {0, 9, 13, 20, 30, 40, 60, HEADER.size, HEADER.size + 50, HEADER.size + len(found) * SECTION.size + 1}
    for _, offset, size, padded in found:
        places |= {offset, offset + size // 2, offset + size - 1, offset + padded - 1}
    for place in sorted(places):
        changed = bytearray(data)
        changed[place] ^= 0x40
        damaged(bytes(changed))


def test_damaged_code_and_manifest_are_found_without_verify(lathe_tool, linear_artifact, tmp_path):
    data = linear_artifact.read_bytes()
    path = tmp_path / "damaged.lathe"
    refused = []
    for name, offset, size, _ in sections(data):
        changed = bytearray(data)
        changed[offset + size // 2] ^= 1
        path.write_bytes(bytes(changed))
        if lathe_tool("inspect", path).returncode == INVALID_MODEL:
            refused.append(name)
    assert "manifest" in refused
    assert any(name.startswith("code.") for name in refused)  # the image that this machine uses


def test_future_version(damaged, linear_artifact):
    data = bytearray(linear_artifact.read_bytes())
    struct.pack_into("<I", data, 8, 1000)
    damaged(bytes(data), "version 1000")


def test_verify_accepts_good_files(lathe_tool, linear_artifact):
    lathe_tool.ok("inspect", linear_artifact, "--verify")
