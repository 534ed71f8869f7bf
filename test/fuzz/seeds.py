# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes what fuzzing begins with: seeds.py FOLDER makes FOLDER/{import,passes,artifact,checkpoint}.

Models are those of ONNX's test cases and of our tests of operators, as they hand them to the compiler, and what the test
models begin with. Modules are those of the lit tests and what the compiler makes of some of the models; artifacts too.
Checkpoints are layers of quantized weights.
"""
import contextlib
import hashlib
import io
import os
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parents[2]
LATHE, LATHE_OPT = ROOT / "build/bin/lathe", ROOT / "build/bin/lathe-opt"
LARGEST = 1 << 15
LARGEST_ARTIFACT = 1 << 16
# What runs on a module of lit tests; test/fuzz/Passes.cpp says what the bits are.
PASSES = {"simplify": 1, "linalg": 2, "integer-products": 4, "select": 4, "plan-arena": 8, "kernel-to-llvm": 16}
# The file of weights that test/fuzz/Import.cpp keeps beside a model.
WEIGHTS, WEIGHT_BYTES = "weights.bin", 1 << 16


def cases():
    """The cases of ONNX's operators: every one that is small."""
    from onnx.backend.test.case.node import collect_testcases

    warnings.simplefilter("ignore")
    for case in collect_testcases(None):
        if case.model is not None:
            yield case.model


def test_models():
    """What the tests of operators compile: each test ends where it hands over its model."""
    import pytest

    sys.path.insert(0, str(ROOT / "build/python"))
    os.environ.setdefault("LATHE_BUILD", str(ROOT / "build"))
    import lathe

    models = []

    def take(path, *_, **__):
        models.append(onnx.load(path, load_external_data=False))
        pytest.skip("taken")

    lathe.compile, compiled = take, lathe.compile
    files = sorted(map(str, (ROOT / "test/models").glob("test_operators*.py")))
    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["-q", "-p", "no:cacheprovider", *files])
    lathe.compile = compiled
    assert models, "no test handed over a model"
    return models


def exported_models():
    """Models of the tests with weights that are zeros of one element: graphs of real exporters."""
    for path in sorted((ROOT / "test/models/data").glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        for tensor in model.graph.initializer:
            if len(tensor.raw_data) > 256:
                tensor.ClearField("raw_data")
                tensor.dims[:] = [1] * len(tensor.dims)
                tensor.raw_data = bytes(8)
        del model.graph.node[60:]
        yield model


def with_external_data(model):
    """The initializers in a file of weights."""
    model = onnx.ModelProto.FromString(model.SerializeToString())
    offset = 0
    for tensor in model.graph.initializer:
        size = len(tensor.raw_data)
        if size == 0 or offset + size > WEIGHT_BYTES:
            continue
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in (("location", WEIGHTS), ("offset", offset), ("length", size)):
            tensor.external_data.add(key=key, value=str(value))
        offset += size
    return model if offset else None


def with_function(model):
    """The nodes in a function of the model."""
    graph, outputs = model.graph, [output.name for output in model.graph.output]
    inputs = [value.name for value in (*graph.input, *graph.initializer)]
    if not graph.node or len(set(inputs)) != len(inputs):
        return None
    model = onnx.ModelProto.FromString(model.SerializeToString())
    model.functions.append(helper.make_function("own", "all", inputs, outputs, model.graph.node, model.opset_import))
    del model.graph.node[:]
    model.graph.node.append(helper.make_node("all", inputs, outputs, domain="own"))
    model.opset_import.append(helper.make_opsetid("own", 1))
    return model


def variants(models):
    for i, model in enumerate(models):
        yield model
        if i % 8 == 0 and (other := with_external_data(model)):
            yield other
        if i % 8 == 4 and (other := with_function(model)):
            yield other


def lit_modules():
    for path in sorted((ROOT / "test/lit").rglob("*.mlir")):
        number = next((bit for word, bit in PASSES.items() if word in path.stem or word in str(path.parent)), 1)
        for part in path.read_text().split("// -----"):
            lines = [line for line in part.splitlines() if "// CHECK" not in line and "// RUN" not in line]
            texts = ["\n".join(lines).encode()]
            if "scf.while" in part:  # whose own form test/fuzz/Passes.cpp does not read
                command = [LATHE_OPT, "--mlir-print-op-generic"]
                texts.append(subprocess.run(command, input=texts.pop(), capture_output=True, timeout=120).stdout)
            for chosen in {1, number, number | 1}:
                yield from (f"// passes: {chosen}\n".encode() + text for text in texts)


def compiled(models):
    """The module of each phase, and the artifact, of some of the models: (modules, artifacts)."""
    modules, artifacts = [], []
    following = {"import": 31, "simplify": 30, "select": 24, "plan": 16}
    with tempfile.TemporaryDirectory() as folder:
        model, artifact, phases = Path(folder, "m.onnx"), Path(folder, "m.lathe"), Path(folder, "phases")
        for proto in models:
            model.write_bytes(proto.SerializeToString())
            command = [LATHE, "compile", model, "-o", artifact, "--target", "cpu:avx2", "-O1", "--dump-ir", phases, "-q"]
            subprocess.run(command, capture_output=True, timeout=120)
            for path in sorted(phases.glob("*.mlir")) if phases.exists() else []:
                number = next((bits for word, bits in following.items() if word in path.stem), None)
                if number is not None:
                    modules.append(f"// passes: {number}\n".encode() + path.read_bytes())
                path.unlink()
            if artifact.exists():
                artifacts.append(artifact.read_bytes())
                artifact.unlink()
    return modules, artifacts


def compressed():
    """Artifacts of one product whose weight is stored as codes, without its zeros, or as factors."""
    import numpy as np

    random = np.random.default_rng(0)
    weight = (random.normal(size=(64, 48)) * (random.random((64, 48)) < 0.2)).astype(np.float32)
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", columns]) for name, columns in (("x", 64), ("y", 48))]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"], name="product")], "product", tensors[:1], tensors[1:],
                              [onnx.numpy_helper.from_array(weight, "w")])
    with tempfile.TemporaryDirectory() as folder:
        model, artifact = Path(folder, "m.onnx"), Path(folder, "m.lathe")
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9), model)
        for words in (["compile", "--int8"], ["compile", "--int4"], ["compile", "--fp8"], ["quantize", "--mode", "codebook", "--dimension", "2"],
                      ["compile", "--sparse", "--prefer", "size"], ["lowrank", "--rank", "8"],
                      ["lowrank", "--method", "circulant", "--block", "8"], ["lowrank", "--method", "kronecker", "--rank", "2", "--block", "8"]):
            subprocess.run([LATHE, words[0], model, "-o", artifact, "--target", "cpu:avx2", "-q", *words[1:]], check=True, timeout=120)
            yield artifact.read_bytes()


def checkpoints():
    """Small layers as GPTQ and AWQ pack them."""
    import numpy as np

    sys.path.insert(0, str(ROOT / "test/models"))
    from checkpoints import Layer, write_safetensors

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for bits in (2, 3, 4, 8):
            for order in (None, random.permutation(32)):
                layer = Layer(random.normal(size=(32, 16)).astype(np.float32), bits, 16, False, order)
                for tensors in [layer.gptq("x"), layer.compressed("x", False), *([layer.awq("x")] if bits == 4 else [])]:
                    yield write_safetensors(Path(folder, "x.safetensors"), tensors).read_bytes()


def write(folder, suffix, contents, largest=LARGEST):
    folder.mkdir(parents=True, exist_ok=True)
    for content in contents:
        if len(content) <= largest:
            (folder / (hashlib.sha1(content).hexdigest()[:16] + suffix)).write_bytes(content)


if __name__ == "__main__":
    target = Path(sys.argv[1])
    tested = test_models()
    models = [*cases(), *tested]
    write(target / "import", ".onnx", (model.SerializeToString() for model in variants(models)))
    write(target / "import", ".onnx", (model.SerializeToString() for model in exported_models()))
    small = [model for model in tested if model.ByteSize() < 4096]
    modules, artifacts = compiled(small[:: max(1, len(small) // 150)])
    write(target / "passes", ".mlir", lit_modules())
    write(target / "passes", ".mlir", modules)
    write(target / "artifact", ".lathe", [*artifacts, *compressed()], LARGEST_ARTIFACT)
    write(target / "checkpoint", ".safetensors", checkpoints())
