# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes what fuzzing begins with: seeds.py FOLDER makes FOLDER/import and FOLDER/passes."""
import hashlib
import sys
import warnings
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 1 << 15
# What runs on a module of lit tests; test/fuzz/Passes.cpp says what the bits are.
PASSES = {"simplify": 1, "linalg": 2, "integer-products": 4, "select": 4, "plan-arena": 8, "kernel-to-llvm": 16}


def models():
    """The cases of ONNX's operators, and parts of the test models: every one that is small."""
    from onnx.backend.test.case.node import collect_testcases

    warnings.simplefilter("ignore")
    for case in collect_testcases(None):
        if case.model is not None:
            yield case.model.SerializeToString()


def large_models():
    """Models of the tests with weights that are zeros of one element: graphs of real exporters."""
    import onnx

    for path in sorted((ROOT / "test/models/data").glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > 256:
                tensor.ClearField("raw_data")
                tensor.dims[:] = [1] * len(tensor.dims)
                tensor.raw_data = bytes(8)
        del model.graph.node[60:]
        yield model.SerializeToString()


def modules():
    for path in sorted((ROOT / "test/lit").rglob("*.mlir")):
        number = next((bit for word, bit in PASSES.items() if word in path.stem or word in str(path.parent)), 1)
        for part in path.read_text().split("// -----"):
            lines = [line for line in part.splitlines() if "// CHECK" not in line and "// RUN" not in line]
            for chosen in {1, number, number | 1}:
                yield f"// passes: {chosen}\n".encode() + "\n".join(lines).encode()


def write(folder, suffix, contents):
    folder.mkdir(parents=True, exist_ok=True)
    for content in contents:
        if len(content) <= LARGEST:
            (folder / (hashlib.sha1(content).hexdigest()[:16] + suffix)).write_bytes(content)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    write(target / "import", ".onnx", models())
    write(target / "import", ".onnx", large_models())
    write(target / "passes", ".mlir", modules())
