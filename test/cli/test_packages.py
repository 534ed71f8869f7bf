# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What users install: a prefix with find_package(lathe), Debian packages, a Python wheel. Each is used away from the build."""
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
CLEAN = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/nonexistent", "LANG": "C.UTF-8"}


def call(*command, env=CLEAN, timeout=300, **options):
    """Runs a command in an environment that knows nothing of the build; returns standard output and error."""
    result = subprocess.run([*map(str, command)], env=env, timeout=timeout, text=True, capture_output=True, **options)
    assert result.returncode == 0, f"{' '.join(map(str, command))}: {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout + result.stderr


def hidden(build):
    """A command before others that hides the build from them, where the system allows that: an empty folder lies over it."""
    script = 'mount -t tmpfs none "$0" && exec "$@"'
    command = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"]), "sh", "-c", script, str(build)]
    possible = subprocess.run([*command, "true"], env=CLEAN, capture_output=True).returncode == 0
    return command if possible else []


def check_libraries(folder, build):
    """Every library that programs and libraries in a folder need is found, and none of them in the build."""
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file() or path.read_bytes()[:4] != b"\x7fELF":
            continue
        needed = call("ldd", path)
        assert "not found" not in needed, f"{path}\n{needed}"
        assert str(build) not in needed and str(ROOT) not in needed, f"{path}\n{needed}"


def check_use(tool, hide, onnx, folder):
    """Compiles the linear model and runs it, with the device of a library of its own, too."""
    inputs = folder / "in.npz"
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    np.savez(inputs, x=x)
    shutil.copy(onnx, folder / "linear.onnx")
    assert re.match(r"lathe \d+\.\d+\.\d+", call(*hide, tool, "--version"))
    call(*hide, tool, "compile", folder / "linear.onnx", "-o", folder / "linear.lathe", "--target", "cpu,cuda")
    for device in ("cpu", "cuda-emulator"):
        outputs = folder / f"{device}.npz"
        call(*hide, tool, "run", folder / "linear.lathe", "--inputs", inputs, "--outputs", outputs, "--device", device)
        expected = x @ np.arange(12, dtype=np.float32).reshape(4, 3) + 1
        np.testing.assert_allclose(np.load(outputs)["y"], expected, rtol=1e-6)


@pytest.fixture(scope="module")
def prefix(build, tmp_path_factory):
    """An installation of everything."""
    folder = tmp_path_factory.mktemp("prefix")
    call("cmake", "--install", build, "--prefix", folder, "--strip")
    return folder


def compiler_of(build):
    (found,) = build.glob("CMakeFiles/*/CMakeCXXCompiler.cmake")
    return re.search(r'set\(CMAKE_CXX_COMPILER "(.*)"\)', found.read_text())[1]


def test_install(prefix, build, linear_onnx, tmp_path):
    check_libraries(prefix, build)
    check_use(prefix / "bin" / "lathe", hidden(build), linear_onnx, tmp_path)
    python = {**CLEAN, "PYTHONPATH": f"{prefix}/lib/python3/dist-packages:{Path(np.__file__).parents[1]}"}
    script = "import lathe, sys; print(lathe.version(), lathe.load(sys.argv[1]).inputs)"
    assert "'x'" in call(sys.executable, "-c", script, tmp_path / "linear.lathe", env=python)


@pytest.mark.parametrize("example", ["c_embed", "cpp_embed"])
def test_find_package(prefix, build, linear_artifact, example, tmp_path):
    shutil.copytree(ROOT / "examples" / example, tmp_path / "source")
    call("cmake", "-G", "Ninja", "-S", tmp_path / "source", "-B", tmp_path / "out", f"-DCMAKE_PREFIX_PATH={prefix}")
    call("cmake", "--build", tmp_path / "out")
    # Of all of Lathe they are linked with the runtime alone.
    dynamic = call("readelf", "-d", tmp_path / "out" / example)
    assert re.findall(r"NEEDED.*\[(liblathe.*)\]", dynamic) == ["liblathe.so.0"]
    arguments = ["2"] if example == "c_embed" else ["batch=2"]
    assert "output y f32 [2, 3]" in call(*hidden(build), tmp_path / "out" / example, linear_artifact, *arguments)


def test_pkg_config(prefix, linear_artifact, tmp_path):
    flags = call("pkg-config", "--cflags", "--libs", "lathe", env={**CLEAN, "PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"}).split()
    program = tmp_path / "c_embed"
    call("cc", ROOT / "examples" / "c_embed" / "main.c", "-o", program, *flags, f"-Wl,-rpath,{prefix}/lib")
    assert "output y f32 [3, 3]" in call(program, linear_artifact, "3")


def test_custom_backend(prefix, build, linear_artifact, npz, tmp_path):
    source, out = ROOT / "examples" / "custom_backend", tmp_path / "out"
    compiler = f"-DCMAKE_CXX_COMPILER={compiler_of(build)}"
    call("cmake", "-G", "Ninja", "-S", source, "-B", out, f"-DCMAKE_PREFIX_PATH={prefix}", compiler)
    call("cmake", "--build", out)
    inputs = npz(x=np.ones((1, 4), np.float32))
    environment = {**CLEAN, "LATHE_BACKEND_PATH": str(out)}
    said = call(*hidden(build), prefix / "bin" / "lathe", "run", linear_artifact, "--inputs", inputs, "--device", "traced", env=environment)
    assert "traced: matmul [1, 4] x [4, 3]" in said


def test_custom_backend_by_another_compiler(prefix, build, tmp_path):
    other = shutil.which("g++") if "clang" in compiler_of(build) else shutil.which("clang++-19")
    if not other:
        pytest.skip("there is no second compiler")
    command = ["cmake", "-S", ROOT / "examples" / "custom_backend", "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}", f"-DCMAKE_CXX_COMPILER={other}"]
    result = subprocess.run([*map(str, command)], env=CLEAN, capture_output=True, text=True)
    assert result.returncode != 0 and "have to be compiled by" in re.sub(r"\s+", " ", result.stderr)


def test_debian(build, linear_onnx, tmp_path):
    call("cpack", "-G", "DEB", "--config", build / "CPackConfig.cmake", "-B", tmp_path / "packages", cwd=tmp_path)
    packages = {path.name.split("_")[0]: path for path in (tmp_path / "packages").glob("*.deb")}
    assert set(packages) == {"lathe", "liblathe-dev"}
    field = lambda package, name: call("dpkg-deb", "-f", packages[package], name).strip()
    assert field("liblathe-dev", "Depends") == f"lathe (= {field('lathe', 'Version')})"
    # What Debian has is a dependency: its libraries are found by asking which package has them.
    depends = re.findall(r"[\w.+-]+(?= \(|,|$)", field("lathe", "Depends"))
    assert {"libc6", "libstdc++6", "libmlir-19", "libgomp1"} <= set(depends)
    assert not [name for name in depends if "dnnl" in name], "oneDNN is part of the package"
    root = tmp_path / "root"
    for path in packages.values():
        call("dpkg-deb", "-x", path, root)
    files = {str(path.relative_to(root)) for path in root.rglob("*") if not path.is_dir()}
    assert {"usr/bin/lathe", "usr/lib/liblathe.so.0", "usr/lib/liblathe-cuda.so", "usr/lib/lathe/libdnnl.so.3", "usr/include/lathe/lathe.h",
            "usr/lib/cmake/lathe/latheConfig.cmake", "usr/lib/pkgconfig/lathe.pc"} <= files
    assert not [name for name in files if name.endswith((".a", ".py"))]
    check_libraries(root, build)
    check_use(root / "usr" / "bin" / "lathe", hidden(build), linear_onnx, tmp_path)


def test_wheel(build, linear_onnx, tmp_path):
    pytest.importorskip("auditwheel", reason="needs auditwheel: make deps")
    call(ROOT / "scripts" / "wheel.sh", tmp_path, env={**CLEAN, "BUILD": str(build)}, timeout=900)
    (wheel,) = tmp_path.glob("lathe-*.whl")
    assert re.fullmatch(r"lathe-[\d.]+-py3-none-manylinux_\d+_\d+_\w+\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    assert "lathe/__init__.py" in names and "lathe/_native/lib/liblathe.so.0" in names and "lathe/_native/bin/lathe" in names
    # An environment with numpy and nothing else.
    call(sys.executable, "-m", "venv", tmp_path / "venv")
    python = tmp_path / "venv" / "bin" / "python"
    call(python, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", wheel)
    (packages,) = (tmp_path / "venv" / "lib").glob("python3*/site-packages")
    for name in ("numpy", "numpy.libs"):
        if (Path(np.__file__).parents[1] / name).exists():
            shutil.copytree(Path(np.__file__).parents[1] / name, packages / name)
    check_libraries(packages / "lathe", build)
    check_use(tmp_path / "venv" / "bin" / "lathe", hidden(build), linear_onnx, tmp_path)
    script = (
        "import json, lathe, numpy as np, sys; lathe.compile('linear.onnx', 'again.lathe');"
        "print(json.dumps(lathe.load('again.lathe').session().run({'x': np.ones((1, 4), np.float32)})['y'].tolist()))"
    )
    assert json.loads(call(*hidden(build), python, "-c", script, cwd=tmp_path)) == [[19, 23, 27]]
