# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The tool loads the compiler when a command needs it, and refuses one that it can't call."""
import shutil
import subprocess

import pytest
from cli_support import INTERNAL, OK

OTHER = 'const char *const lathe_compiler_interface = "0.0.1-0123456789abcdef";'
REFUSES = "const void *lathe_compiler_library(const char *interface) { return interface ? 0 : (void *)1; }"


@pytest.fixture
def installed(build, tmp_path):
    """installed(source): the tool in a folder of its own, beside a compiler of this C source, or of none."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "lib").mkdir()
    tool = shutil.copy2(build / "bin" / "lathe", tmp_path / "bin" / "lathe")

    def install(source):
        if source is not None:
            (tmp_path / "compiler.c").write_text(source)
            subprocess.run(["cc", "-shared", "-fPIC", "-o", tmp_path / "lib" / "liblathe-compiler.so", tmp_path / "compiler.c"], check=True)
        return lambda *flags: subprocess.run([tool, *map(str, flags)], capture_output=True, text=True, timeout=60)

    return install


@pytest.mark.parametrize("source, words", [
    (None, ["not found"]),
    ("int nothing;", ["lathe_compiler_library"]),
    (OTHER + REFUSES, ["is of another build than this tool: expected interface ", "found 0.0.1-0123456789abcdef"]),
    (REFUSES, ["is of another build than this tool: expected interface ", "found one of before"]),
])
def test_a_compiler_that_does_not_fit(installed, linear_onnx, tmp_path, source, words):
    lathe = installed(source)
    for command in (["check", linear_onnx], ["compile", linear_onnx, "-o", tmp_path / "m.lathe"]):
        result = lathe(*command)
        assert result.returncode == INTERNAL and result.stderr.startswith("lathe: error: can't load the compiler"), result.stderr
        assert all(word in result.stderr for word in [*words, "compiling needs a full installation"]), result.stderr
    assert not (tmp_path / "m.lathe").exists()


def test_running_needs_no_compiler(installed, linear_artifact):
    result = installed(None)("inspect", linear_artifact)
    assert result.returncode == OK and "batch" in result.stdout, result.stderr
