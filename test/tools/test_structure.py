# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Rules of the tree that no compiler checks (CONTRIBUTING.md)."""
import re
import subprocess
import sys
from pathlib import Path

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


PASS = re.compile(r'^def\s+\w+\s*:\s*\w*Pass\s*<\s*"([\w-]+)"(.*?)^}', re.MULTILINE | re.DOTALL)


def declared_passes():
    """Command-line names of the passes in every Passes.td, with their folder and definition."""
    for path in tracked():
        if path.name == "Passes.td":
            for argument, definition in PASS.findall(path.read_text()):
                yield path.parent.relative_to(ROOT), argument, definition


def test_every_pass_has_a_lit_test():
    missing = []
    for folder, argument, _ in declared_passes():
        # Tests mirror the path; what runs has none, so a backend's stand in the folder of the backend.
        tests = ROOT / "test/lit" / (folder.parent if folder.name == "compiler" else folder)
        if not (tests / f"{argument}.mlir").is_file():
            missing.append(f"{folder}/Passes.td: {argument}: no {tests.relative_to(ROOT)}/{argument}.mlir")
    assert not missing, "\n".join(missing)


def test_every_pass_is_described():
    passes = list(declared_passes())
    assert len(passes) > 20, "the definitions are not found"
    missing = []
    for folder, argument, definition in passes:
        for word in ["let summary", "Pre-condition: ", "Post-condition: ", "```mlir"]:
            if word not in definition:
                missing.append(f"{folder}/Passes.td: {argument}: no {word.strip(' :')}")
    assert not missing, "\n".join(missing)


# What stands in no line of sources of a place: lower layers never look up, and the runtime's have no compiler.
LAYERS = [
    (re.compile(r"(?!compiler/|test/)"), re.compile(r'#include "compiler/'), "nothing includes compiler/"),
    (re.compile(r"runtime/|backends/\w+/runtime/"), re.compile(r'#include [<"](mlir|llvm|dialects|passes|frontends)/'), "the runtime sees no compiler"),
    (re.compile(r"(?!compiler/tools/|test/)"), re.compile(r"\bcl::(opt|list)\b"), "no global options outside tools"),
]


def test_layers_are_kept():
    found = []
    for path in tracked():
        name = str(path.relative_to(ROOT))
        rules = [(word, why) for place, word, why in LAYERS if place.match(name)]
        if path.suffix in {".c", ".h", ".cpp", ".hpp", ".inc", ".cu", ".td"}:
            for number, line in enumerate(path.read_text().splitlines(), 1):
                found += [f"{name}:{number}: {why}" for word, why in rules if word.search(line)]
    assert not found, "\n".join(found)


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
    declared = {str(folder / "Passes.td") for folder, *_ in declared_passes()}
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
