# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Rules of the tree that no compiler checks (CONTRIBUTING.md)."""
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_SUFFIXES = {".c", ".h", ".cpp", ".hpp", ".td", ".py", ".sh"}
TEXT_SUFFIXES = SOURCE_SUFFIXES | {".md", ".txt", ".cmake", ".in", ".mlir", ".test", ".json", ".ld", ".map"}
MAX_LINES = 800
# A folder of one person's machine; the names are spelt so that this file does not contain them.
MACHINE_PATH = re.compile(r"(?<![\w.}])/(?:" + "|".join(["home", "work", "root", "Users", "tmp/w"]) + r")/")


def tracked():
    """Files under version control, or all files where there is none."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        paths = [ROOT / name for name in listed.decode().split("\0") if name]
    except (OSError, subprocess.CalledProcessError):
        paths = [path for path in ROOT.rglob("*") if not path.relative_to(ROOT).parts[0].startswith("build")]
    return sorted(path for path in paths if path.is_file() and not path.is_symlink())


def declared_passes():
    """Command-line names of the passes in every Passes.td, with their folder."""
    for path in tracked():
        if path.name == "Passes.td":
            text = re.sub(r"//[^\n]*", "", path.read_text())
            for _, argument in re.findall(r"def\s+(\w+)\s*:\s*\w*Pass\s*<\s*\"([\w-]+)\"", text):
                yield path.parent.relative_to(ROOT), argument


def test_every_pass_has_a_lit_test():
    passes = list(declared_passes())
    if not passes:
        pytest.skip("no pass is declared yet")
    names = {path.stem for path in (ROOT / "test/lit").rglob("*.mlir")}
    missing = []
    for folder, argument in passes:
        # --lathe-fuse-attention is tested by fuse-attention.mlir: the project's prefix may be left out.
        if not {argument, argument.removeprefix("lathe-")} & names:
            missing.append(f"{folder}/Passes.td: {argument}: no test/lit/**/{argument}.mlir")
    assert not missing, "\n".join(missing)


def test_files_are_short():
    long = []
    for path in tracked():
        if path.suffix in SOURCE_SUFFIXES:
            lines = len(path.read_text().splitlines())
            if lines >= MAX_LINES:
                long.append(f"{path.relative_to(ROOT)}: {lines} lines")
    assert not long, "\n".join(long)


def test_sources_carry_the_licence():
    missing = []
    for path in tracked():
        if path.suffix in SOURCE_SUFFIXES:
            head = "\n".join(path.read_text().splitlines()[:12])
            if head and "SPDX-License-Identifier: Apache-2.0" not in head:
                missing.append(str(path.relative_to(ROOT)))
    assert not missing, "\n".join(missing)


def test_no_machine_paths():
    found = []
    for path in tracked():
        if path.suffix in TEXT_SUFFIXES:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if MACHINE_PATH.search(line):
                    found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()}")
    assert not found, "\n".join(found)


def test_reference_is_current():
    result = subprocess.run([sys.executable, ROOT / "scripts" / "reference.py", "--check"], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_reference_has_every_pass():
    declared = {str(folder / "Passes.td") for folder, _ in declared_passes()}
    listed = set(re.findall(r'"([\w/]+/Passes\.td)"', (ROOT / "scripts" / "reference.py").read_text()))
    assert declared == listed


# Where an operation of the dialect `lathe` must be mentioned (docs/dev/add-an-op.md), and operations that need not be.
PLACES = {
    "dialects/lathe": ("*.cpp", {"require": "it has no result"}),
    "backends/reference/compiler": ("*.cpp", {"cache": "its rows are a session's: it is a call whatever the backend"}),
    "frontends/onnx/export": ("*.cpp", {"yield": "control flow writes what it ends"}),
    "test/lit/dialects/lathe": ("*.mlir", {}),
}


def test_every_operation_is_where_it_must_be():
    definitions = "".join(path.read_text() for path in sorted((ROOT / "dialects" / "lathe").glob("*.td")))
    operations = re.findall(r"^def Lathe_(\w+)Op : \w+<\"(\w+)\"", definitions, re.MULTILINE)
    assert len(operations) > 70, "the definitions are not found"
    missing = []
    for folder, (pattern, exceptions) in PLACES.items():
        text = "".join(path.read_text() for path in sorted((ROOT / folder).glob(pattern)))
        for name, mnemonic in operations:
            word = rf"lathe\.{mnemonic}\b" if pattern == "*.mlir" else rf"\b{name}Op\b"
            if (re.search(word, text) is None) != (mnemonic in exceptions):
                missing.append(f"lathe.{mnemonic} in {folder}")
    assert not missing, "not mentioned, or an exception that is none: " + ", ".join(missing)
