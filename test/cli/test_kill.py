# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Commands that are killed at random moments leave what was there before or all that they were to write, no partial
file and no lock, and the next run works.

What may be left is the folder of finished parts beside the output (test_resume.py), which the next run uses and removes.
"""
import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
from cli_support import save_chain

LAYERS, WIDTH, KILLS = 4, 128, 5
BEFORE = b"what was there before"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chain of products, samples of its input, and a recipe."""
    path = tmp_path_factory.mktemp("kill")
    values = np.random.default_rng(0)
    save_chain(path / "model.onnx", LAYERS, WIDTH, values)
    np.savez(path / "samples.npz", x0=values.standard_normal((128, WIDTH), np.float32))
    steps = [{"step": "prune", "method": "wanda", "sparsity": 0.5}, {"step": "quantize", "bits": 4, "group_size": 32, "method": "gptq"}]
    # What machines that do other work, too, would decide by times is decided without.
    (path / "recipe.json").write_text(json.dumps({"version": 1, "prefer": "size", "steps": steps}))
    return path


def words(folder, command, output):
    flags = {
        "compile": [],
        "quantize": ["--bits", "4", "--group-size", "32", "--method", "gptq", "--prefer", "size", "--calib", folder / "samples.npz"],
        "optimize": ["--recipe", folder / "recipe.json", "--calib", folder / "samples.npz"],
    }
    # One of them shows what it did as a page, too, which is made when all else is done.
    page = ["--report", output.with_suffix(".html")] if command == "optimize" else []
    return [command, folder / "model.onnx", "-o", output, "--jobs", "1", *flags[command], *page]


def run_for(lathe_tool, arguments, seconds, environment):
    """Kills the command after so many seconds; whether that was before its end."""
    process = subprocess.Popen([lathe_tool.path, *map(str, arguments)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
    process.wait()
    return process.returncode == -signal.SIGKILL


def check_left(output, before, whole, temporary):
    """After a kill: the output is as it was, or whole; beside it there are finished parts alone."""
    content = output.read_bytes() if output.exists() else None
    assert content in (before, whole), "neither what was there before nor the whole"
    resume = output.with_name(output.name + ".resume")
    page = output.with_suffix(".html")
    assert {path.name for path in output.parent.iterdir()} <= {output.name, resume.name, page.name}
    assert not page.exists() or page.read_text().endswith("</html>\n")
    if resume.exists():
        assert all(path.suffix == ".part" and path.stat().st_size > 0 for path in resume.iterdir())
    assert list(temporary.iterdir()) == []
    return content


@pytest.mark.parametrize("command, name", [("compile", "m.lathe"), ("quantize", "m.lathe"), ("quantize", "m.onnx"), ("optimize", "m.lathe")])
def test_kill(lathe_tool, folder, tmp_path, command, name):
    (tmp_path / "whole").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, "TMPDIR": str(tmp_path / "tmp")}
    begin = time.monotonic()
    lathe_tool.ok(*words(folder, command, tmp_path / "whole" / name))
    seconds = time.monotonic() - begin
    whole = (tmp_path / "whole" / name).read_bytes()
    output = tmp_path / "out" / name
    chance = random.Random(f"{command} {name}")
    killed = 0
    for turn in range(KILLS):
        # Where one was there before, and where none was.
        before = BEFORE if turn % 2 else None
        for path in (output, output.with_suffix(".html")):
            path.unlink(missing_ok=True)
        if before:
            output.write_bytes(before)
        # Those that come to their end are few.
        killed += run_for(lathe_tool, words(folder, command, output), chance.uniform(0.05, seconds), environment)
        check_left(output, before, whole, tmp_path / "tmp")
    assert killed, "no run was killed"
    lathe_tool.ok(*words(folder, command, output))
    assert output.read_bytes() == whole
    made = {name, output.with_suffix(".html").name} if command == "optimize" else {name}
    assert {path.name for path in output.parent.iterdir()} == made and list((tmp_path / "tmp").iterdir()) == []
