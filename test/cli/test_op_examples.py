# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Every operation's description has an IR example, and lathe-opt reads it."""
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


# Values of examples come from elsewhere, and two lines may each have an own one of a name; all else that is wrong is told first.
FROM_ELSEWHERE = re.compile("use of undeclared SSA value name|expects different type than prior uses")


def read(lathe_tool, texts):
    """What is wrong with pieces of IR, each alone."""
    source = "\n// -----\n".join(f"func.func @f() {{\n{text}\nreturn\n}}" for text in texts)
    tool = Path(lathe_tool.path).with_name("lathe-opt")
    result = subprocess.run([tool, "--split-input-file", "-"], input=source, capture_output=True, text=True, timeout=120)
    return [line for line in result.stderr.splitlines() if re.search(r"\berror: ", line) and not FROM_ELSEWHERE.search(line)]


@pytest.mark.parametrize("dialect, count", [("lathe", 75), ("kernel", 20)])
def test_examples_are_read(lathe_tool, dialect, count):
    page = (ROOT / "docs" / "dialects" / f"{dialect}.md").read_text()
    sections = re.split(r"^### `", page, flags=re.MULTILINE)[1:]
    sections = [section for section in sections if section.startswith(f"{dialect}.")]
    assert len(sections) >= count
    examples = {section.split("`")[0]: re.findall(r"```mlir\n(.*?)```", section, re.DOTALL) for section in sections}
    missing = [name for name, blocks in examples.items() if not any(re.search(rf"\b{re.escape(name)}\b", block) for block in blocks)]
    assert not missing, missing
    assert read(lathe_tool, [block for blocks in examples.values() for block in blocks]) == []


def test_wrong_examples_are_found(lathe_tool):
    right, wrong = "%y = lathe.relu %x : (tensor<4xf32>) -> tensor<4xf32>", "%y = lathe.relu %x : tensor<4xf32>"
    assert read(lathe_tool, [right]) == []
    assert len(read(lathe_tool, [right, wrong, right, "lathe.none %x"])) == 2
