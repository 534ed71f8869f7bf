# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The ONNX backend test cases, each in three variants.

static: as it comes. dynamic: every dimension of an input above 1 is symbolic, one symbol for each extent. constant: the
inputs are initializers.
"""
import dataclasses
import pathlib
import warnings
from typing import Any, List, Optional, Tuple

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

DEBIAN = pathlib.Path("/usr/share/libonnx-testdata/data")
VARIANTS = ("static", "dynamic", "constant")

# What is not inference on tensors, by domain, operator or name.
OTHER_DOMAINS = {"ai.onnx.ml", "ai.onnx.preview.training", "ai.onnx.preview"}
RANDOM = {"Bernoulli", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Multinomial"}
LOSSES = {"NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"}
TRAINING_NAMES = ("training_dropout", "batchnorm_epsilon_training", "batchnorm_example_training", "_train")


@dataclasses.dataclass
class Case:
    name: str
    operator: str
    model: onnx.ModelProto
    data: List[Tuple[List[Any], List[Any]]]
    rtol: float
    atol: float

    def out_of_scope(self) -> Optional[str]:
        """Why this is not inference on tensors, or None."""
        if any(opset.domain in OTHER_DOMAINS for opset in self.model.opset_import):
            return "another domain"
        if any(opset.domain in ("", "ai.onnx") and opset.version > 25 for opset in self.model.opset_import):
            return "an operator set above 25"
        if any(opset.domain in ("", "ai.onnx") and opset.version < 13 for opset in self.model.opset_import):
            return "an operator set below 13"
        graph = self.model.graph
        values = list(graph.input) + list(graph.output)
        if any(value.type.WhichOneof("value") != "tensor_type" for value in values):
            return "sequences, maps and optionals"
        if any(value.type.tensor_type.elem_type == TensorProto.STRING for value in values):
            return "strings"
        if any(value.type.tensor_type.elem_type in (TensorProto.COMPLEX64, TensorProto.COMPLEX128) for value in values):
            return "complex numbers"
        nodes = list(graph.node) + [node for function in self.model.functions for node in function.node]
        if any(node.op_type in RANDOM for node in nodes):
            return "random numbers"
        if any(word in self.name for word in TRAINING_NAMES) or any(node.op_type in LOSSES for node in nodes):
            return "training"
        if any(node.op_type.startswith(("Sequence", "Optional", "SplitToSequence", "ConcatFromSequence", "String")) for node in nodes):
            return "sequences, maps and optionals"
        return None

    def variant(self, variant):
        """The case in a variant, or None where that is the same as another."""
        if variant == "static":
            return self
        model = onnx.ModelProto()
        model.CopyFrom(self.model)
        if len(self.data) != 1:
            return None
        inputs, outputs = self.data[0]
        if any(not isinstance(array, np.ndarray) for array in inputs) or not inputs:
            return None
        if variant == "dynamic":
            changed = False
            for value in list(model.graph.input):
                kind = value.type.tensor_type
                # A list of extents or axes: how many there are is a rank, which is part of the model.
                if kind.elem_type == TensorProto.INT64 and len(kind.shape.dim) == 1:
                    continue
                for dim in value.type.tensor_type.shape.dim:
                    if dim.HasField("dim_value") and dim.dim_value > 1:
                        dim.dim_param = f"n{dim.dim_value}"
                        changed = True
            for number, value in enumerate(model.graph.output):
                for axis, dim in enumerate(value.type.tensor_type.shape.dim):
                    dim.dim_param = f"out{number}_{axis}"
            del model.graph.value_info[:]
            return dataclasses.replace(self, model=model) if changed else None
        for value, array in zip(list(model.graph.input), inputs):
            tensor = numpy_helper.from_array(array, value.name)
            tensor.data_type = value.type.tensor_type.elem_type
            model.graph.initializer.append(tensor)
        del model.graph.input[:]
        return dataclasses.replace(self, model=model, data=[([], outputs)])


def main_operator(model, name):
    """The operator that a case is about: the only one, or the one that its name begins with."""
    types = [node.op_type for node in model.graph.node if node.op_type != "Constant"]
    if len(set(types)) == 1:
        return types[0]
    words = name.removeprefix("test_").replace("_", "")
    matches = [kind for kind in types if words.startswith(kind.lower())]
    return max(matches, key=len) if matches else "(several)"


def to_arrays(values):
    return [numpy_helper.to_array(value) if isinstance(value, TensorProto) else value for value in values]


def lower_opset(model, newest=25):
    """Gives a model of a later operator set the newest one that is supported, where that means the same."""
    for opset in model.opset_import:
        if opset.domain not in ("", "ai.onnx") or opset.version <= newest:
            continue
        nodes = list(model.graph.node) + [node for function in model.functions for node in function.node]
        try:
            same = all(
                onnx.defs.get_schema(node.op_type, opset.version, "").since_version <= newest
                for node in nodes
                if node.domain in ("", "ai.onnx")
            )
        except onnx.defs.SchemaError:
            same = False
        if same:
            opset.version = newest


def generated():
    """The cases of the installed onnx package, made by its own generator."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        collected = collect_testcases(None)
    for case in collected:
        name = case.name
        # A case with its functions inlined is about the function.
        lower_opset(case.model)
        operator = main_operator(case.model, name.split("_expanded")[0])
        data = [(to_arrays(inputs), to_arrays(outputs)) for inputs, outputs in case.data_sets]
        yield Case(name, operator, case.model, data, case.rtol, case.atol)


def as_declared(tensor, value):
    """The tensor's values as what the model calls them: onnx 1.12 wrote the bits of bfloat16 as uint16."""
    if value.type.tensor_type.elem_type == TensorProto.BFLOAT16 and tensor.data_type == TensorProto.UINT16:
        tensor.data_type = TensorProto.BFLOAT16
    return numpy_helper.to_array(tensor)


def declare_shape(value, array):
    """Gives an input the shape that it has: onnx 1.12 declared that of the first input for the second of CastLike."""
    dims = value.type.tensor_type.shape.dim
    if isinstance(array, np.ndarray) and value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
        if [dim.dim_value for dim in dims] != list(array.shape):
            del dims[:]
            for extent in array.shape:
                dims.add().dim_value = extent


def debian(folder=DEBIAN):
    """The cases of Debian's libonnx-testdata, where it is installed."""
    for path in sorted(folder.glob("*/*/model.onnx")):
        model = onnx.load(path)
        name = f"debian_{path.parent.name.removeprefix('test_')}"
        data = []
        for directory in sorted(path.parent.glob("test_data_set_*")):
            sets = []
            for kind, values in (("input", model.graph.input), ("output", model.graph.output)):
                arrays = []
                for index in range(len(list(directory.glob(f"{kind}_*.pb")))):
                    tensor = TensorProto()
                    try:
                        tensor.ParseFromString((directory / f"{kind}_{index}.pb").read_bytes())
                        arrays.append(as_declared(tensor, values[index]))
                    except Exception:  # sequences and the like, which are out of scope
                        arrays.append(None)
                sets.append(arrays)
            data.append(tuple(sets))
        for value, array in zip(model.graph.input, data[0][0] if data else []):
            declare_shape(value, array)
        yield Case(name, main_operator(model, path.parent.name), model, data, 1e-3, 1e-5)
