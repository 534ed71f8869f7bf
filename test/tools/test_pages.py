# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The tool that runs the pages of the guide: what it must refuse, and what it may let pass."""
import os

import pages
import pytest


def write(tmp_path, *lines):
    page = tmp_path / "page.md"
    page.write_text("\n".join(lines) + "\n")
    return page


@pytest.mark.parametrize(
    "shown, printed, expected",
    [
        ("a 1.5 ms", "a 1.5 ms\n", True),
        ("a … ms", "a 1.5 ms\n", True),
        ("a … ms", "a 1.5 s\n", False),
        ("a\n…\nz", "a\nb\nc\nz\n", True),
        ("a\n…\nz", "a\nz\n", True),
        ("a\n…\nz", "a\nb\n", False),
        ("a", "a\nb\n", False),
        ("a (1)", "a 1\n", False),
        ("a …", "a\nb\n", False),
    ],
)
def test_matches(shown, printed, expected):
    assert pages.matches(shown, printed) is expected


def test_a_page_runs_in_order(tmp_path):
    page = write(
        tmp_path, "# Page", "```text file=a/b.txt", "hello", "```", "```sh run", "cat a/b.txt", "echo oops >&2", "```",
        "```text output", "he…", "oops", "```", "```sh run fails=3", "exit 3", "```", "```sh skip: no GPU", "false", "```",
    )
    assert pages.run(page, tmp_path, dict(os.environ)) == [("page.md:16", "no GPU")]


@pytest.mark.parametrize(
    "lines, words",
    [
        (["```sh run", "false", "true", "```"], "page.md:1: exit code 1"),
        (["```sh run", "false | true", "```"], "page.md:1: exit code 1"),
        (["```sh run fails=3", "true", "```"], "expected 3"),
        (["```sh run", "echo a", "```", "```text output", "b", "```"], "page.md:4: the page shows"),
        (["```text output", "b", "```"], "nothing was run"),
        (["```sh", "true", "```"], "expected what becomes of the block"),
        (["```c run", "int main;", "```"], "expected what becomes of the block"),
        (["text", "", "    lathe run"], "indented block"),
        (["```sh run", "true"], "does not end"),
    ],
)
def test_a_page_fails(tmp_path, lines, words):
    with pytest.raises((AssertionError, ValueError), match=words):
        pages.run(write(tmp_path, *lines), tmp_path, dict(os.environ))
