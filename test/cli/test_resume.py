# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""A compression that is killed leaves nothing at its output, and the next start takes over what was finished."""
import random
import re
import signal
import subprocess

import numpy as np
import pytest
from cli_support import check_failure, kill_when, save_chain

LAYERS, WIDTH = 12, 384
# What times would decide, which differ from run to run, is decided without.
FLAGS = ["--mode", "static", "--range", "mse", "--bits", "3", "--group-size", "32", "--method", "gptq", "--prefer", "size"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chain of products, and samples of its input."""
    path = tmp_path_factory.mktemp("resume")
    values = np.random.default_rng(0)
    save_chain(path / "model.onnx", LAYERS, WIDTH, values)
    (path / "samples").mkdir()
    for i in range(3):
        np.savez(path / "samples" / f"{i}.npz", x0=values.standard_normal((128, WIDTH), np.float32))
    return path


@pytest.fixture
def quantize(lathe_tool, folder):
    """quantize(output, *flags): the command's words."""

    def words(output, *flags, samples=folder / "samples"):
        return ["quantize", folder / "model.onnx", "-o", output, *FLAGS, "--calib", samples, "--jobs", "1", *flags]

    return words


@pytest.fixture
def whole(lathe_tool, quantize, tmp_path):
    """What a run that nothing interrupts gives."""
    output = tmp_path / "whole.lathe"
    lathe_tool.ok(*quantize(output))
    assert [path.name for path in tmp_path.iterdir()] == ["whole.lathe"]
    return output.read_bytes()


def parts(output):
    return sorted(output.with_name(output.name + ".resume").glob("*.part"))


def test_killed_run_is_taken_over(lathe_tool, quantize, whole, tmp_path):
    output = tmp_path / "model.lathe"
    resume = output.with_name("model.lathe.resume")
    kill_when([lathe_tool.path, *quantize(output)], lambda: len(parts(output)) >= 5, output)
    left = len(parts(output)) - 1  # one is the calibration
    assert {path.name for path in tmp_path.iterdir()} == {"whole.lathe", resume.name}
    result = lathe_tool(*quantize(output))
    assert result.returncode == 0, result.stderr
    assert "reusing the calibration of an interrupted run" in result.stderr
    assert f"reusing {left} of {LAYERS} layers of an interrupted run ({resume})" in result.stderr
    assert output.read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"whole.lathe", "model.lathe"}
    assert "reusing" not in lathe_tool(*quantize(output)).stderr


def test_killed_pruning_is_taken_over(lathe_tool, folder, tmp_path):
    """Of layers that methods work on long; by magnitude they are as fast as what is kept of them."""
    output, other = tmp_path / "model.lathe", tmp_path / "whole.lathe"

    def words(path, method="sparsegpt", scope="layer"):
        return ["prune", folder / "model.onnx", "-o", path, "--method", method, "--scope", scope, "--calib", folder / "samples", "--jobs", "1",
                "--prefer", "size"]  # times of a machine that others use, too, decide nothing

    for scope in ("layer", "global"):
        lathe_tool.ok(*words(other, scope=scope))
        kill_when([lathe_tool.path, *words(output, scope=scope)], lambda: len(parts(output)) >= 5, output)
        left = len(parts(output)) - 1
        result = lathe_tool(*words(output, scope=scope))
        assert result.returncode == 0 and f"reusing {left} of {LAYERS} layers" in result.stderr, result.stderr
        assert output.read_bytes() == other.read_bytes() and parts(output) == []
    assert "layers of an interrupted run" not in lathe_tool(*words(output, "wanda")).stderr


def test_killed_at_any_time(lathe_tool, quantize, whole, tmp_path):
    """Again and again, until a run comes to its end: each starts where the one before it was."""
    output = tmp_path / "model.lathe"
    chance = random.Random(1)
    known = 0
    for _ in range(8):
        end = chance.uniform(0.05, 1.2)
        process = subprocess.Popen([lathe_tool.path, *map(str, quantize(output))], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(end)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
        process.wait()
        if output.exists():
            assert output.read_bytes() == whole
            break
        assert len(parts(output)) >= known
        known = len(parts(output))
        assert {path.name for path in tmp_path.iterdir()} <= {"whole.lathe", "model.lathe.resume"}
    lathe_tool.ok(*quantize(output))
    assert output.read_bytes() == whole
    assert {path.name for path in tmp_path.iterdir()} == {"whole.lathe", "model.lathe"}


def test_what_does_not_fit_is_not_taken(lathe_tool, quantize, whole, folder, tmp_path):
    """Other parameters or samples, damaged parts: all of it is made again."""
    output = tmp_path / "model.lathe"
    kill_when([lathe_tool.path, *quantize(output)], lambda: len(parts(output)) >= 4, output)
    reference = tmp_path / "other.lathe"
    lathe_tool.ok(*quantize(reference, "--damping", "0.05"))
    (tmp_path / "kept").mkdir()
    for part in parts(output):
        (tmp_path / "kept" / part.name).write_bytes(part.read_bytes())
    result = lathe_tool(*quantize(output, "--damping", "0.05"))
    assert f"reusing 0 of {LAYERS} layers" in result.stderr and output.read_bytes() == reference.read_bytes()
    # Each part damaged in a way of its own.
    output.unlink()
    resume = output.with_name("model.lathe.resume")
    resume.mkdir()
    for index, part in enumerate(sorted((tmp_path / "kept").iterdir())):
        content = bytearray(part.read_bytes())
        if index % 3 == 0:
            content[len(content) // 2] ^= 1
        elif index % 3 == 1:
            del content[len(content) // 2 :]
        else:
            content = bytearray()
        (resume / part.name).write_bytes(content)
    result = lathe_tool(*quantize(output))
    assert result.returncode == 0 and re.search(r"warning: '.*\.part' of an interrupted run is damaged", result.stderr)
    assert f"reusing 0 of {LAYERS} layers" in result.stderr
    assert output.read_bytes() == whole and not resume.exists()


def test_nothing_is_kept_of_mistakes(lathe_tool, quantize, tmp_path):
    (tmp_path / "samples").mkdir()
    np.savez(tmp_path / "samples" / "0.npz", x0=np.full((4, WIDTH), np.nan, np.float32))
    result = lathe_tool(*quantize(tmp_path / "model.lathe", samples=tmp_path / "samples"))
    check_failure(result, result.returncode, "not a finite number")
    assert [path.name for path in tmp_path.iterdir()] == ["samples"]


def test_a_folder_of_others_stays(lathe_tool, quantize, whole, tmp_path):
    """What is there by that name and is not ours: a file, or a folder with other files."""
    output = tmp_path / "model.lathe"
    resume = output.with_name("model.lathe.resume")
    resume.write_text("mine")
    result = lathe_tool(*quantize(output))
    assert result.returncode == 0 and "warning: can't keep finished layers" in result.stderr
    assert output.read_bytes() == whole and resume.read_text() == "mine"
    resume.unlink()
    resume.mkdir()
    (resume / "note.txt").write_text("mine")
    lathe_tool.ok(*quantize(output))
    assert [path.name for path in resume.iterdir()] == ["note.txt"]
