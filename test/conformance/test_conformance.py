# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""A share of the conformance cases; `make conformance` runs them all."""

import os
import pathlib
import re
import subprocess
import sys

DEVICE = os.environ.get("LATHE_TEST_DEVICE", "cuda-emulator")


def check(*arguments):
    """(passed, unsupported, failed) of the runs that conformance.py chooses; all of them ended as expected."""
    script = pathlib.Path(__file__).with_name("conformance.py")
    result = subprocess.run([sys.executable, script, "--check", *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return tuple(map(int, re.search(r"(\d+) passed, (\d+) unsupported, (\d+) failed", result.stdout).groups()))


def test_expected_to_pass():
    passed, *others = check("--quick", "60")
    assert passed > 50 and others == [0, 0]


def test_families_on_a_device():
    """Of each family of operators some, chosen without a look at what passes."""
    passed, _, failed = check("--families", "3", "--targets", DEVICE, "--variants", "static", "dynamic")
    assert passed > 40 and failed == 0
