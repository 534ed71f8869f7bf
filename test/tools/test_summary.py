# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""scripts/summary.py: no failure may go uncounted."""
import subprocess
import sys
from pathlib import Path

import pytest

SUMMARY = Path(__file__).resolve().parents[2] / "scripts" / "summary.py"


def summary(folder):
    result = subprocess.run([sys.executable, SUMMARY, folder], capture_output=True, text=True)
    return result.returncode, result.stdout, result.stdout.splitlines()[-1]


def write(folder, name, status, cases):
    with open(folder / "suites.tsv", "a") as table:
        table.write(f"{name}\t{status}\t1\n")
    if cases is not None:
        (folder / f"{name}.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")


PASS = '<testcase classname="a" name="p"/>'
SKIP = '<testcase classname="a" name="s"><skipped message="no GPU"/></testcase>'
FAIL = '<testcase classname="a" name="f"><failure message="1 != 2">trace</failure></testcase>'
MISSING = '<testcase classname="a" name="m" status="notrun"><skipped message="Unable to find executable: x"/></testcase>'


def test_counts(tmp_path):
    write(tmp_path, "one", 0, PASS + PASS + SKIP)
    write(tmp_path, "two", 0, PASS)
    assert summary(tmp_path)[::2] == (0, "3 passed, 0 failed, 1 skipped")


def test_names_failures(tmp_path):
    write(tmp_path, "one", 1, PASS + FAIL)
    status, text, last = summary(tmp_path)
    assert (status, last) == (1, "1 passed, 1 failed, 0 skipped")
    assert "one: a.f: 1 != 2" in text


@pytest.mark.parametrize("status, cases", [(139, None), (0, None), (2, PASS), (0, ""), (0, MISSING), (0, "<broken")])
def test_runner_failures(tmp_path, status, cases):
    write(tmp_path, "good", 0, PASS)
    write(tmp_path, "bad", status, cases)
    code, text, last = summary(tmp_path)
    assert code == 1 and " 1 failed" in last and "bad: " in text


def test_nothing_run(tmp_path):
    assert summary(tmp_path)[::2] == (1, "0 passed, 0 failed, 0 skipped")


def test_only_skipped(tmp_path):
    write(tmp_path, "one", 0, SKIP)
    assert summary(tmp_path)[::2] == (1, "0 passed, 0 failed, 1 skipped")


def test_says_what_was_skipped_and_why(tmp_path):
    bare = '<testcase classname="a" name="t"><skipped/></testcase>'
    write(tmp_path, "one", 0, PASS + SKIP + SKIP.replace('"s"', '"z"') + bare)
    write(tmp_path, "two", 0, PASS + SKIP)
    text = summary(tmp_path)[1]
    assert "one: a.s and 1 more: no GPU\n" in text and "two: a.s: no GPU\n" in text and "one: a.t: no reason is given\n" in text
    assert "skipped:\n" in text
