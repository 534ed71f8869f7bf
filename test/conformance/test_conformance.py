# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""A share of the conformance cases that are expected to pass; `make conformance` runs them all."""

import pathlib
import re
import subprocess
import sys

import pytest


# On the emulated device each case takes a second; what is picked of it are other cases than of the processor.
@pytest.mark.parametrize(
    "targets, variants, one_in, least",
    [
        (["cpu", "reference"], ["static", "dynamic", "constant"], 60, 50),
        (["cuda-emulator"], ["static", "dynamic"], 120, 10),
    ],
    ids=["processor", "device"],
)
def test_expected_to_pass(targets, variants, one_in, least):
    script = pathlib.Path(__file__).with_name("conformance.py")
    command = [sys.executable, script, "--check", "--quick", str(one_in), "--targets", *targets, "--variants", *variants]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    passed, others = map(int, re.search(r"(\d+) passed, 0 unsupported, (\d+) failed", result.stdout).groups())
    assert passed > least and others == 0, result.stdout
