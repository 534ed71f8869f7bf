# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The build where there is no CUDA toolkit."""
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def test_configures_without_a_toolkit(build, tmp_path):
    """All of the runtime with its backend for CUDA is configured, and one line says what is left out."""
    cache = dict(re.findall(r"^(\w+):\w+=(.*)$", (build / "CMakeCache.txt").read_text(), re.M))
    same = [f"-D{name}={cache[name]}" for name in ("LATHE_VENV", "CMAKE_C_COMPILER", "CMAKE_CXX_COMPILER") if name in cache]
    command = ["cmake", "-G", "Ninja", "-S", ROOT, "-B", tmp_path, "-DLATHE_RUNTIME_ONLY=ON", "-DLATHE_CUDA_TOOLKIT=OFF", *same]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line for line in result.stdout.splitlines() if "CUDA toolkit" in line]
    assert lines == ["-- no CUDA toolkit: left out are cubins of artifacts, which have PTX, and tests that assemble kernels"]
    targets = subprocess.run(["cmake", "--build", tmp_path, "--target", "help"], capture_output=True, text=True).stdout
    assert "lathe_cuda_backend" in targets and "lathe_cuda_kernels" in targets
    # Nothing that is compiled reads a file of a toolkit.
    rules = (tmp_path / "build.ninja").read_text()
    assert "CudaModule.cpp" in rules and "cuda/include" not in rules and "/ptxas" not in rules
