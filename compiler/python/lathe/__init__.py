# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compile Transformer models and run them with numpy arrays.

    import lathe
    lathe.compile("model.onnx", "model.lathe")
    session = lathe.load("model.lathe").session()
    outputs = session.run({"input_ids": ids, "attention_mask": mask})

The package is a thin layer over liblathe (lathe/lathe.h). It looks for liblathe.so in the environment variable
LATHE_LIBRARY, then in the build tree or installation that it lies in; for the executable `lathe` likewise, with
LATHE_EXECUTABLE.
"""
from lathe._compile import compile
from lathe._errors import Error, Status
from lathe._runtime import Module, Program, Session, Symbol, TensorInfo, load, version

__all__ = ["Error", "Module", "Program", "Session", "Status", "Symbol", "TensorInfo", "compile", "load", "version"]
