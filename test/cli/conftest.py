# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What the tests of the command line share."""
import numpy as np
import pytest
from cli_support import check_failure, linear


@pytest.fixture
def fails_to_compile(lathe_tool, tmp_path):
    """fails_to_compile(model, code, words…): also that neither output nor temporary file is left."""
    folder = tmp_path / "out"
    folder.mkdir()

    def compile_it(model, code, *words, flags=()):
        check_failure(lathe_tool("compile", model, "-o", folder / "m.lathe", *flags), code, *words)
        assert list(folder.iterdir()) == []

    return compile_it


@pytest.fixture(scope="session")
def linear_onnx(tmp_path_factory):
    return linear(tmp_path_factory.mktemp("linear") / "linear.onnx")


@pytest.fixture(scope="session")
def linear_artifact(lathe_tool, linear_onnx):
    """The linear model, compiled for batches of 1 to 4."""
    path = linear_onnx.with_suffix(".lathe")
    lathe_tool.ok("compile", linear_onnx, "-o", path, "--dim", "batch=1..4")
    return path


@pytest.fixture
def npz(tmp_path):
    """npz(x=array, …) is the path of a file with these arrays."""

    def write(**arrays):
        path = tmp_path / "in.npz"
        np.savez(path, **arrays)
        return path

    return write
