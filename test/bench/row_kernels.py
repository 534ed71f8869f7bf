#!/usr/bin/env python3
# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compares generated row kernels with hand-written ones (row_kernels.cpp) in one run, on one thread.

    row_kernels.py [--before LATHE] [--isa avx512|avx2] [--repeat 3]

Prints nanoseconds for an element, the least of bursts that alternate; `--before` names another build's `lathe` to compare with.
The yardstick needs AVX-512; on 49152 elements, which the second-level cache holds. A run of a model costs about half a
microsecond (0.01 ns an element) beside its kernel.
"""
import argparse
import json
import os
import subprocess
import tempfile
from pathlib import Path

import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("LATHE_BUILD", ROOT / "build")).resolve()
COUNT = 49152

#: By name, as in row_kernels.cpp: the operator, its attributes, columns, and the lengths of parameters.
KERNELS = {
    "softmax": ("Softmax", {"axis": -1}, 384, []),
    "layer_norm": ("LayerNormalization", {"axis": -1}, 768, ["row", "row"]),
    "gelu_erf": ("Gelu", {}, 768, []),
    "gelu_tanh": ("Gelu", {"approximate": "tanh"}, 768, []),
    "add": ("Add", {}, 768, ["all"]),
}


def write_model(name, path):
    operator, attributes, columns, parameters = KERNELS[name]
    inputs, initializers, names = [], [], ["x"]
    shape = ["rows", columns]
    inputs.append(helper.make_tensor_value_info("x", TensorProto.FLOAT, shape))
    for i, kind in enumerate(parameters):
        names.append(f"p{i}")
        if kind == "all":
            inputs.append(helper.make_tensor_value_info(f"p{i}", TensorProto.FLOAT, shape))
        else:
            initializers.append(helper.make_tensor(f"p{i}", TensorProto.FLOAT, [columns], [1.0 + i] * columns))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)
    node = helper.make_node(operator, names, ["y"], **attributes)
    graph = helper.make_graph([node], name, inputs, [output], initializers)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), path)


def bench(lathe, artifact, columns, isa):
    command = [lathe, "bench", artifact, "--dim", f"rows={COUNT // columns}", "--threads", "1", "--iterations", "2000", "--json"]
    environment = dict(os.environ, LATHE_ISA=isa)
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return json.loads(output)["min_ms"] * 1e6 / COUNT


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", help="another build's lathe")
    parser.add_argument("--isa", default="avx512", choices=["avx512", "avx2"])
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    builds = {"generated": str(BUILD / "bin" / "lathe")}
    if options.before:
        builds["before"] = options.before
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        yardstick = folder / "yardstick"
        source = Path(__file__).with_suffix(".cpp")
        subprocess.run([os.environ.get("CXX", "clang++-19"), "-O3", "-std=c++17", source, "-o", yardstick], check=True)
        for name in KERNELS:
            write_model(name, folder / f"{name}.onnx")
            for build, lathe in builds.items():
                subprocess.run([lathe, "compile", "-q", folder / f"{name}.onnx", "-o", folder / f"{name}.{build}"], check=True)
        best = {}

        def note(key, value):
            best[key] = min(value, best.get(key, value))

        for _ in range(options.repeat):
            for line in subprocess.run([yardstick], check=True, capture_output=True, text=True).stdout.splitlines():
                name, value = line.split()
                note((name, "by hand"), float(value))
            for name, (_, _, columns, _) in KERNELS.items():
                for build, lathe in builds.items():
                    note((name, build), bench(lathe, folder / f"{name}.{build}", columns, options.isa))
    columns = ["by hand", *builds]
    print(f"{'kernel':12}" + "".join(f"{column:>12}" for column in columns) + f"{'ratio':>8}")
    for name in KERNELS:
        values = [best[name, column] for column in columns]
        print(f"{name:12}" + "".join(f"{value:12.3f}" for value in values) + f"{values[1] / values[0]:8.2f}")


if __name__ == "__main__":
    main()
