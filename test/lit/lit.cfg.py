# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Tests of passes and tools: build/venv/bin/lit -v build/test/lit.

In RUN lines: lathe-opt, lathe, FileCheck, not, count, split-file, %python, %S, %s, %t.
"""
import os

import lit.formats

config.name = "lathe"
config.test_format = lit.formats.ShTest(execute_external=False)
config.suffixes = [".mlir", ".test"]
config.excludes = ["Inputs"]
config.test_source_root = os.path.join(config.lathe_source, "test", "lit")
config.test_exec_root = os.path.join(config.lathe_build, "test", "lit")

config.environment["PATH"] = os.pathsep.join(
    [os.path.join(config.lathe_build, "bin"), config.llvm_tools, os.environ.get("PATH", "")]
)
# What a failed FileCheck shows is then enough to see why.
config.environment["FILECHECK_OPTS"] = "--dump-input=fail"
config.substitutions.append(("%python", config.python))
config.substitutions.append(("%models", os.path.join(config.lathe_source, "test", "models", "data")))
