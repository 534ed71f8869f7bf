# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""What is measured: models, dimensions, precisions, and the share of the best peer's time to reach. Where Lathe computes in int8 or int4 peers
run what ONNX Runtime's quantizers write (quantized.py)."""
from typing import NamedTuple, Optional

FLOATS = ("f32", "bf16")
PRECISIONS = (*FLOATS, "int8", "int4")


class Workload(NamedTuple):
    """A model at given dimensions. A target is a share of the best peer's time, None where nothing is promised."""

    name: str
    model: str
    dims: dict
    targets: dict = {}
    precisions: tuple = FLOATS
    quick: bool = False


MINILM = "minilm"
WORKLOADS = (
    Workload("MiniLM b1 s16", MINILM, {"batch": 1, "sequence": 16}, {"f32": 0.8}, quick=True),
    Workload("MiniLM b1 s128", MINILM, {"batch": 1, "sequence": 128}, quick=True),
    Workload("MiniLM b32 s128", MINILM, {"batch": 32, "sequence": 128}, {"f32": 0.8}),
    Workload("BERT-base b1 s128", "bert", {"batch": 1, "sequence": 128}, {"f32": 0.85, "bf16": 0.4, "int8": 0.45}, (*FLOATS, "int8")),
    Workload("BERT-base b8 s128", "bert", {"batch": 8, "sequence": 128}, {"f32": 0.85, "bf16": 0.4}),
    Workload("ViT-base b1", "vit", {"batch": 1}, {"f32": 0.85, "bf16": 0.4}),
    Workload("Swin-tiny b1", "swin", {"batch": 1}, {"f32": 0.7, "bf16": 0.4}),
    Workload("GPT-2 prefill 128", "gpt2", {"batch": 1, "sequence": 128, "past_sequence": 0}, {"f32": 0.85, "bf16": 0.45}),
    Workload("GPT-2 decode at 128", "gpt2", {"batch": 1, "sequence": 1, "past_sequence": 128}, {"int8": 0.6}, PRECISIONS),
    Workload("Qwen2-0.5B prefill 128", "qwen2", {"batch": 1, "sequence": 128, "past_sequence": 0}, {"bf16": 0.4}),
    Workload("Qwen2-0.5B decode at 128", "qwen2", {"batch": 1, "sequence": 1, "past_sequence": 128}, {"bf16": 0.75, "int8": 0.55, "int4": 0.45}, PRECISIONS),
)


class Bound(NamedTuple):
    """A promise that is no ratio to a peer: (model, precision) of the compilation or of the workload it is read from."""

    what: str
    model: str
    precision: str
    key: str
    limit: float
    unit: str


BOUNDS = (
    Bound("load BERT-base", "bert", "f32", "load_ms", 50, "ms"),
    Bound("compile BERT-base", "bert", "f32", "compile_s", 8, "s"),
    Bound("resident memory of compiling BERT-base", "bert", "f32", "compile_rss_bytes", 1 << 30, "MiB"),
    Bound("resident memory while BERT-base runs, to its weights", "bert", "bf16", "rss_to_weights", 1.25, ""),
)


def with_totals(dims):
    """Dimensions with those that follow from them."""
    dims = dict(dims)
    if "past_sequence" in dims:
        dims["total_sequence"] = dims["past_sequence"] + dims["sequence"]
    return dims


def declared_inputs(path, dims):
    """(name, dtype, shape) of the inputs of an ONNX file at given dimensions, and the names of its outputs."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    dims, inputs = with_totals(dims), []
    for value in graph.input:
        tensor = value.type.tensor_type
        shape = []
        for dim in tensor.shape.dim:
            if dim.dim_param and dim.dim_param not in dims:
                raise ValueError(f"{path}: input '{value.name}' has the dimension '{dim.dim_param}', of which nothing is said")
            shape.append(dims[dim.dim_param] if dim.dim_param else dim.dim_value)
        inputs.append((value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape))
    return inputs, [value.name for value in graph.output]


def make_inputs(declared, past=0):
    """Arrays for inputs of the given (name, dtype, shape). Masks let everything through, positions count on from the cache,
    ids are those of any vocabulary here, other integers are 0, floats are of a normal distribution; seeded."""
    import numpy as np

    random = np.random.default_rng(0)
    inputs = {}
    for name, dtype, shape in declared:
        if name == "input_ids":
            array = random.integers(1000, 30000, shape)
        elif name == "attention_mask":
            array = np.ones(shape)
        elif name == "position_ids":
            array = np.broadcast_to(np.arange(shape[-1]) + past, shape)
        elif np.issubdtype(np.dtype(dtype), np.floating):
            array = random.standard_normal(shape, dtype=np.float32)
        else:
            array = np.zeros(shape)
        inputs[name] = np.array(array, dtype=dtype, order="C")  # a copy: one that is broadcast could not be written
    return inputs


def select(pattern=None, quick=False, precisions=PRECISIONS):
    """(workload, precision) in the order of the tables. `pattern` is searched in "name precision"."""
    return [
        (workload, precision)
        for workload in WORKLOADS
        for precision in workload.precisions
        if precision in precisions
        and (not quick or workload.quick)
        and (pattern is None or pattern.search(f"{workload.name} {precision}"))
    ]


def target(workload, precision) -> Optional[float]:
    return workload.targets.get(precision)
