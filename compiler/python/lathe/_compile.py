# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compilation, by the executable `lathe`."""
import os
import shutil
import subprocess

from lathe import _library
from lathe._errors import Error


def _executable():
    given = os.environ.get("LATHE_EXECUTABLE")
    if given:
        return given
    beside = [place / "bin" / "lathe" for place in _library.places()]
    found = next((str(path) for path in beside if path.exists()), None) or shutil.which("lathe")
    if not found:
        raise Error("the executable 'lathe' is not beside the package nor on PATH: set LATHE_EXECUTABLE")
    return found


def _flags(options):
    """{"dim": {"batch": (1, 4)}, "target": "cpu:avx2", "int8": True} to command-line flags."""
    for name, value in options.items():
        flag = "--" + name.replace("_", "-")
        if value is None or value is False:
            continue
        if name == "optimization":
            yield f"-O{int(value)}"
        elif value is True:
            yield flag
        elif isinstance(value, dict):
            for key, item in value.items():
                bounds = item if isinstance(item, (tuple, list)) else [item]
                text = "..".join("" if bound is None else str(bound) for bound in bounds)
                yield from (flag, f"{key}={text}")
        else:
            for item in value if isinstance(value, (tuple, list)) else [value]:
                yield from (flag, os.fspath(item) if isinstance(item, os.PathLike) else str(item))


def _run(arguments):
    """Runs `lathe` with these arguments; raises Error with what it printed where it fails."""
    command = [_executable(), *arguments]
    try:
        result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    except OSError as error:
        raise Error(f"cannot run '{command[0]}': {error.strerror}") from None
    if result.returncode != 0:
        message = result.stderr.strip() or f"'{' '.join(command)}' ended with code {result.returncode}"
        raise Error(message, exit_code=result.returncode)


def compile(model, output, **options):
    """Compiles the ONNX file `model` to the artifact `output`, and returns the path of the artifact.

    Options are those of `lathe compile`, with underscores for hyphens: target="cpu:avx2", optimization=2,
    dim={"batch": (1, 4)} (None for no upper limit), dump_ir="folder"; True gives a flag without a value.

    Raises Error, with the compiler's message and exit_code.
    """
    _run(["compile", os.fspath(model), "-o", os.fspath(output), *_flags(options)])
    return os.fspath(output)
