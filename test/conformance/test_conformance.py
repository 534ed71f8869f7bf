# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""A share of the conformance cases that are expected to pass; `make conformance` runs them all."""

import pathlib
import re
import subprocess
import sys

ONE_IN = 60


def test_expected_to_pass():
    script = pathlib.Path(__file__).with_name("conformance.py")
    result = subprocess.run([sys.executable, script, "--check", "--quick", str(ONE_IN)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    passed, others = map(int, re.search(r"(\d+) passed, 0 unsupported, (\d+) failed", result.stdout).groups())
    assert passed > 50 and others == 0, result.stdout
