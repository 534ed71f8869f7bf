# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Backends in libraries of their own: which are found, and what is said of those that are not or do not fit."""
import os
import re
import shutil
import subprocess

import numpy as np
import pytest
from cli_support import USAGE, check_failure

# Of the runtime's library without symbols, in bytes; oneDNN is a library of its own.
RUNTIME_LIMIT = 1_500_000


@pytest.fixture(scope="module")
def traced(build):
    """The folder with the example's library."""
    folder = build / "examples" / "custom_backend"
    assert (folder / "liblathe-traced.so").exists(), "build the target lathe_traced"
    return folder


@pytest.fixture
def run(lathe_tool, linear_artifact, npz, tmp_path):
    """run(device, folders) is the finished process; the values come out in tmp_path / out.npz."""
    inputs = npz(x=np.arange(8, dtype=np.float32).reshape(2, 4))

    def run_it(device, *folders, **environment):
        environment = {**os.environ, "LATHE_BACKEND_PATH": ":".join(map(str, folders)), **environment}
        return lathe_tool("run", linear_artifact, "--inputs", inputs, "--outputs", tmp_path / "out.npz", "--device", device, env=environment)

    return run_it


def test_traced(run, traced, tmp_path):
    result = run("traced", "", "/nowhere", traced)
    assert result.returncode == 0, result.stderr
    assert re.search(r"^traced: matmul \[2, 4\] x \[4, 3\]$", result.stderr, re.MULTILINE), result.stderr
    assert "traced: 1 calls" in result.stderr
    expected = np.arange(8, dtype=np.float32).reshape(2, 4) @ np.arange(12, dtype=np.float32).reshape(4, 3) + 1
    np.testing.assert_allclose(np.load(tmp_path / "out.npz")["y"], expected, rtol=1e-6)
    assert "traced" not in run("cpu", traced).stderr


def test_longer_names_are_the_librarys(run, traced):
    # The library is asked, and says what it has.
    check_failure(run("traced-twice", traced), USAGE, "liblathe-traced.so' has no device 'traced-twice'; it has: traced")


def test_missing_library(run, traced):
    check_failure(run("traced"), USAGE, "the artifact is not for device 'traced'; it is for: cpu", "there is no library 'liblathe-traced.so' in ")
    check_failure(run("../traced", traced), USAGE, "'../traced' is no name of a device")


def test_unfit_libraries(run, traced, build, tmp_path):
    library = tmp_path / "liblathe-traced.so"
    library.write_bytes(b"\x7fELF of no kind")
    check_failure(run("traced", tmp_path), USAGE, f"'{library}' cannot be opened: ")
    shutil.copy(build / "lib" / "liblathe-cuda.so", library)
    check_failure(run("traced", tmp_path), USAGE, f"'{library}' has no device 'traced'; it has: cuda, cuda-emulator")
    # Of another runtime: one digit of the hash of the headers.
    bytes_ = (traced / "liblathe-traced.so").read_bytes()
    at = re.search(rb"interface [0-9.]+-[0-9a-f]{16}", bytes_).end() - 1
    library.write_bytes(bytes_[:at] + (b"0" if bytes_[at : at + 1] != b"0" else b"1") + bytes_[at + 1 :])
    check_failure(run("traced", tmp_path), USAGE, f"'{library}' was built for another runtime: expected 'interface ", "found 'interface ")


def test_no_entry(run, build, tmp_path):
    tokenizer = build / "lib" / "liblathe_tokenizer.so"
    if not tokenizer.exists():
        pytest.skip("built without tokenizers")
    library = tmp_path / "liblathe-traced.so"
    shutil.copy(tokenizer, library)
    check_failure(run("traced", tmp_path), USAGE, f"'{library}' is no library of backends: expected it to export 'lathe_backend_v1'")


def test_runtime_without_cuda(run, build, tmp_path):
    """A runtime beside which there is no liblathe-cuda.so says so in one line, and runs all else."""
    shutil.copy(build / "lib" / "liblathe.so.0", tmp_path)
    result = run("cuda-emulator", LD_LIBRARY_PATH=str(tmp_path))
    check_failure(result, USAGE, f"there is no library 'liblathe-cuda.so' in {tmp_path}")
    assert len(result.stderr.strip().splitlines()) == 1
    assert run("cpu", LD_LIBRARY_PATH=str(tmp_path)).returncode == 0


def test_size_of_the_runtime(build, tmp_path):
    stripped = tmp_path / "liblathe.so"
    subprocess.run(["strip", "-o", stripped, build / "lib" / "liblathe.so.0"], check=True)
    assert stripped.stat().st_size <= RUNTIME_LIMIT
