# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Pages whose programs run: what docs/guide/README.md says of its blocks.

The words behind the language of a fenced block say what becomes of it:

    ```sh run              commands, by bash -e, in the page's folder
    ```sh run fails=3      the same, of which the last ends with this exit code
    ```python run          a program
    ```c file=main.c       a file, written there
    ```text output         what the block before it prints, both streams; … stands for any text within a line, a line of … for any lines
    ```sh skip: reason     not run
    ```json show           looked at by people alone: neither commands nor output

A block without such a word is a mistake, so that none is left out without anybody's noticing. A page that goes on where another one ends
says so in a comment of its own line: <!-- after: quick-start.md -->
"""
import re
import subprocess
from pathlib import Path
from typing import NamedTuple

FENCE = re.compile(r"^```(?P<words>.*)$")
AFTER = re.compile(r"^<!-- after: (?P<page>\S+) -->$", re.MULTILINE)


class Block(NamedTuple):
    """A fenced block; `line` is that of its first fence, from 1."""

    line: int
    language: str
    what: str  # "run", "file", "output", "skip", "show"
    detail: str  # a file's name, an exit code, a reason
    text: str


def blocks(text):
    """The blocks of a page; raises ValueError for one that says not what becomes of it."""
    found, begin, words, lines = [], None, "", []
    for number, line in enumerate(text.splitlines(), 1):
        fence = FENCE.match(line)
        if fence is None:
            if begin is not None:
                lines.append(line)
            elif line.startswith("    ") and lines == [] and not line.lstrip().startswith(("-", "|")):
                raise ValueError(f"line {number}: expected commands between fences, got an indented block")
        elif begin is None:
            begin, words, lines = number, fence["words"].strip(), []
        else:
            found.append(_block(begin, words, "".join(f"{each}\n" for each in lines)))
            begin, lines = None, []
    if begin is not None:
        raise ValueError(f"line {begin}: a block that does not end")
    return found


def _block(line, words, text):
    language, _, rest = words.partition(" ")
    if rest.startswith("skip: "):
        return Block(line, language, "skip", rest.removeprefix("skip: "), text)
    if rest.startswith("file="):
        return Block(line, language, "file", rest.removeprefix("file="), text)
    if rest == "output" or rest == "show":
        return Block(line, language, rest, "", text)
    match = re.fullmatch(r"run(?: fails=(\d+))?", rest)
    if match and language in ("sh", "python"):
        return Block(line, language, "run", match[1] or "0", text)
    raise ValueError(f"line {line}: expected what becomes of the block (run, file=, output, show, skip:), got '{words}'")


def after(text):
    """The page that a page goes on from, or None."""
    match = AFTER.search(text)
    return match["page"] if match else None


def matches(shown, printed):
    """Whether what a page shows is what was printed."""
    pattern = ""
    for line in shown.rstrip("\n").split("\n"):
        if line.strip() == "…":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += r"[^\n]*?".join(re.escape(part.rstrip() if i else part) for i, part in enumerate(line.rstrip().split("…"))) + r"[ ]*\n"
    printed = "".join(f"{line.rstrip()}\n" for line in printed.rstrip("\n").split("\n"))
    return re.fullmatch(pattern, printed) is not None


def run(page, folder, environment, timeout=120):
    """Does what a page tells in a folder; returns the blocks that were left out. Raises AssertionError with the page's line."""
    printed, skipped = None, []
    for block in blocks(page.read_text()):
        where = f"{page.name}:{block.line}"
        if block.what == "file":
            path = folder / block.detail
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.what == "run":
            printed = _execute(block, where, folder, environment, timeout)
        elif block.what == "output":
            assert printed is not None, f"{where}: nothing was run whose output this could be"
            assert matches(block.text, printed), f"{where}: the page shows\n{block.text}\nprinted was\n{printed}"
        elif block.what == "skip":
            skipped.append((where, block.detail))
    return skipped


def _execute(block, where, folder, environment, timeout):
    command = ["bash", "-e", "-o", "pipefail", "-c", block.text] if block.language == "sh" else ["python", "-c", block.text]
    result = subprocess.run(
        command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, errors="replace", timeout=timeout,
    )
    assert result.returncode == int(block.detail), f"{where}: exit code {result.returncode}, expected {block.detail}\n{result.stdout}"
    return result.stdout
