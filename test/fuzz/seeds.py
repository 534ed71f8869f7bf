# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Writes what fuzzing begins with: seeds.py FOLDER [TARGET…] makes FOLDER/TARGET, by default of all targets.

Models are those of ONNX's test cases and of our tests of operators, as they hand them to the compiler, and what the test
models begin with. Modules are those of the lit tests and what the compiler makes of some of the models; artifacts too.
Checkpoints are layers of quantized weights. Tokenizers are those of their tests, recipes those of the tests and of the
documentation.
"""
import contextlib
import hashlib
import io
import json
import os
import re
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


def use_tests():
    """Makes the modules of the tests ones that can be imported."""
    sys.path[:0] = [str(ROOT / "build/python"), str(ROOT / "test/models")]
    os.environ.setdefault("LATHE_BUILD", str(ROOT / "build"))


def run_tests(files):
    """Runs tests that end where they hand over what is wanted of them."""
    import pytest

    with contextlib.redirect_stdout(io.StringIO()):
        pytest.main(["-q", "-p", "no:cacheprovider", *map(str, sorted(files))])


def test_models():
    """What the tests of operators compile: each test ends where it hands over its model."""
    import pytest

    use_tests()
    import lathe

    models = []

    def take(path, *_, **__):
        models.append(onnx.load(path, load_external_data=False))
        pytest.skip("taken")

    lathe.compile, compiled = take, lathe.compile
    run_tests((ROOT / "test/models").glob("test_operators*.py"))
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
    """Small layers as quantizers pack them."""
    import numpy as np

    use_tests()
    from checkpoints import FloatLayer, Layer, write_safetensors

    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        for bits in (2, 3, 4, 8):
            for order in (None, random.permutation(32)):
                layer = Layer(random.normal(size=(32, 16)).astype(np.float32), bits, 16, False, order)
                for tensors in [layer.gptq("x"), layer.compressed("x", False), *([layer.awq("x")] if bits == 4 else [])]:
                    yield write_safetensors(Path(folder, "x.safetensors"), tensors).read_bytes()
        wide = random.normal(size=(32, 64)).astype(np.float32)
        layers = [Layer(wide, 4, 32, False).gemv("x"), Layer(wide, 8, 16, False).bytes("x", False), FloatLayer(wide).bytes("x"),
                  FloatLayer(wide, 16, 16).bytes("x", "weight_scale_inv"), FloatLayer(wide, 0).bytes("x", shape=())]
        layers += [Layer(wide, 4, group, True).marlin("x", names) for group in (16, -1) for names in (("B", "s"), ("qweight", "scales"))]
        for tensors in layers:
            yield write_safetensors(Path(folder, "x.safetensors"), tensors).read_bytes()


def tensor_files():
    """Files of tensors of each type, order and version, and archives of some of them."""
    import numpy as np

    def npy(array, version=None):
        stream = io.BytesIO()
        np.lib.format.write_array(stream, array, version)
        return stream.getvalue()

    types = ["?", *"bhilqBHILQefd", ">f4", ">i8", "V2", "V1", "c8", "S3"]
    arrays = [np.zeros((2, 3), kind) for kind in types]
    arrays += [np.asfortranarray(np.arange(24.0).reshape(2, 3, 4)), np.float32(1), np.zeros((0, 5)), np.zeros((1,) * 9)]
    for array in arrays:
        yield npy(np.asanyarray(array))
    for version in ((2, 0), (3, 0)):
        yield npy(arrays[0], version)
    for save in (np.savez, np.savez_compressed):
        for chosen in (arrays[:1], arrays[3:14], arrays[-4:]):
            stream = io.BytesIO()
            save(stream, **{f"x{i}": array for i, array in enumerate(chosen)})
            yield stream.getvalue()


def tokenizers():
    """A text before each: its length, and its bytes."""
    import pytest

    use_tests()
    import tokenizer_support

    header = (ROOT / "test/unit/runtime/tokenizer/TestFiles.h").read_text()
    files = [json.loads(text) for text in re.findall(r'R"json\((.*?)\)json"', header, re.DOTALL)]

    def take(tokenizer, data):
        tokenizer.handle = None
        if isinstance(data, dict):
            files.append(data)
        pytest.skip("taken")

    kept, tokenizer_support.Tokenizer.__init__ = tokenizer_support.Tokenizer.__init__, take
    run_tests([ROOT / "test/models/test_tokenizer_parts.py"])
    tokenizer_support.Tokenizer.__init__ = kept
    assert len(files) > 20, "the tests handed over too few tokenizers"
    texts = ["", "a b<eos> bab ab,ab  Word é 1,2", "ab ba. [SEP] aab 中 x\u0301\n", " They'll   say 1234 \u2581\U0001f600"]
    for i, file in enumerate(files):
        text = texts[i % len(texts)].encode()
        yield bytes([len(text)]) + text + json.dumps(file).encode()


def recipes():
    """Those that tests draw, and those that the documentation shows."""
    use_tests()
    from test_recipes import draw

    for number in range(200):
        yield json.dumps(draw(number)[1]).encode()
    for path in sorted((ROOT / "docs").rglob("*.md")):
        for text in re.findall(r"```json\n(.*?)```", path.read_text(), re.DOTALL):
            if '"steps"' in text:
                yield text.encode()


def write(folder, suffix, contents, largest=LARGEST):
    folder.mkdir(parents=True, exist_ok=True)
    for content in contents:
        if len(content) <= largest:
            (folder / (hashlib.sha1(content).hexdigest()[:16] + suffix)).write_bytes(content)


def models_and_modules(target, wanted):
    """Of the targets that begin with models."""
    tested = test_models()
    if "import" in wanted:
        write(target / "import", ".onnx", (model.SerializeToString() for model in variants([*cases(), *tested])))
        write(target / "import", ".onnx", (model.SerializeToString() for model in exported_models()))
    if {"passes", "artifact"} & wanted:
        small = [model for model in tested if model.ByteSize() < 4096]
        modules, artifacts = compiled(small[:: max(1, len(small) // 150)])
        write(target / "passes", ".mlir", lit_modules())
        write(target / "passes", ".mlir", modules)
        write(target / "artifact", ".lathe", [*artifacts, *compressed()], LARGEST_ARTIFACT)


def main():
    target, wanted = Path(sys.argv[1]), set(sys.argv[2:])
    others = {"checkpoint": (".safetensors", checkpoints), "npz": (".npz", tensor_files), "tokenizer": (".tokenizer", tokenizers),
              "recipe": (".json", recipes)}
    wanted = wanted or {"import", "passes", "artifact", *others}
    for name, (suffix, make) in others.items():
        if name in wanted:
            write(target / name, suffix, make())
    if wanted - set(others):
        models_and_modules(target, wanted)


if __name__ == "__main__":
    main()
