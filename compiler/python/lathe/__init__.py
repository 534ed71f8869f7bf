# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compile Transformer models and run them with numpy arrays.

    import lathe
    lathe.compile("model.onnx", "model.lathe")
    session = lathe.load("model.lathe").session()
    outputs = session.run({"input_ids": ids, "attention_mask": mask})

    report = lathe.quantize("model.onnx", "small.lathe", bits=4, group_size=32, method="gptq", calib=[inputs])

    model = lathe.load("decoder.lathe", tokenizer="tokenizer.json")
    print(model.generate("def main", max_new_tokens=64))

The package is a thin layer over liblathe (lathe/lathe.h). It looks for liblathe.so in the environment variable
LATHE_LIBRARY, then in the wheel, build tree or installation that it lies in; for the executable `lathe` likewise, with
LATHE_EXECUTABLE; for liblathe_tokenizer.so, which only texts need, with LATHE_TOKENIZER_LIBRARY.
"""
from lathe._compile import compile
from lathe._compress import lowrank, optimize, prune, quantize
from lathe._errors import Error, Status
from lathe._generation import Generated, Generator
from lathe._runtime import Module, Program, Session, Symbol, TensorInfo, load, version
from lathe._tokenizer import Tokenizer, TokenStream

__all__ = [
    "Error",
    "Generated",
    "Generator",
    "Module",
    "Program",
    "Session",
    "Status",
    "Symbol",
    "TensorInfo",
    "TokenStream",
    "Tokenizer",
    "compile",
    "load",
    "lowrank",
    "optimize",
    "prune",
    "quantize",
    "version",
]
