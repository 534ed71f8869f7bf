# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Compression, by the executable `lathe`, with calibration data as arrays and the report as a dictionary."""
import json
import os
import tempfile
from pathlib import Path

import numpy as np

from lathe._compile import _flags, _run
from lathe._errors import Error

USAGE = 2  # docs/exit-codes.md


def _write_samples(samples, folder):
    """Writes calibration data where the executable reads them from; returns the path. A path stays as it is."""
    if isinstance(samples, (str, os.PathLike)):
        return os.fspath(samples)
    if isinstance(samples, np.ndarray):
        if samples.ndim != 1 or samples.dtype.kind not in "iu":
            raise Error(f"calib: expected token ids, integers of one dimension, got {samples.dtype} of {samples.ndim}"
                        " dimensions; inputs of a model are a dictionary by name, or a list of these", exit_code=USAGE)
        path = folder / "tokens.npy"
        np.save(path, samples.astype(np.int64))
        return str(path)
    samples = [samples] if isinstance(samples, dict) else samples
    path, count = folder / "calib", 0
    path.mkdir()
    try:
        for sample in samples:
            if not isinstance(sample, dict):
                raise Error(f"calib: expected a dictionary of arrays by name, got {type(sample).__name__}", exit_code=USAGE)
            np.savez(path / f"{count:08}.npz", **{name: np.asarray(array) for name, array in sample.items()})
            count += 1
    except TypeError:
        raise Error("calib: expected a path, an array of token ids, a dictionary of arrays by name, or dictionaries of"
                    f" these, got {type(samples).__name__}", exit_code=USAGE) from None
    if count == 0:
        raise Error("calib: expected at least one dictionary of arrays, got none", exit_code=USAGE)
    return str(path)


def _compress(command, model, output, calib, recipe, report, options):
    with tempfile.TemporaryDirectory(prefix="lathe-") as name:
        folder = Path(name)
        if calib is not None:
            options["calib"] = _write_samples(calib, folder)
        if isinstance(recipe, dict):
            (folder / "recipe.json").write_text(json.dumps(recipe))
            options["recipe"] = folder / "recipe.json"
        elif recipe is not None:
            options["recipe"] = recipe
        told = folder / "report.json"
        _run([command, os.fspath(model), "-o", os.fspath(output), *_flags({**options, "report": told})])
        text = told.read_text()
        if report is not None and os.fspath(report).endswith(".html"):
            _run(["report", str(told), "-o", os.fspath(report)])
        elif report is not None:
            Path(report).write_text(text)
    return json.loads(text)


def quantize(model, output, *, calib=None, report=None, **options):
    """Stores the weights of the ONNX file `model` in fewer bits, and returns the report as a dictionary.

    `output` is an artifact (.lathe) or an ONNX file (.onnx). Options are those of `lathe quantize`, with underscores
    for hyphens: mode="dynamic", method="gptq", bits=4, group_size=32, kv_cache="int8", exclude=["*lm_head*"]; True
    gives a flag without a value (docs/compression.md).

    calib: what methods look at: a path as `--calib` takes it, a one-dimensional integer array of token ids, a dictionary
        of the model's inputs (name to array), or several of these.
    report: a path where the report is kept besides, .json or .html.

    Raises Error, with the compiler's message and exit_code.
    """
    return _compress("quantize", model, output, calib, None, report, options)


def prune(model, output, *, calib=None, report=None, **options):
    """Makes weights of the ONNX file `model` zero, or takes heads, neurons, channels or layers away.

    Options are those of `lathe prune`: method="wanda", sparsity=0.5, pattern="2:4". All else as of quantize().
    """
    return _compress("prune", model, output, calib, None, report, options)


def lowrank(model, output, *, calib=None, report=None, **options):
    """Puts factors in the place of weights of the ONNX file `model`.

    Options are those of `lathe lowrank`: method="svd-llm", ratio=0.2. All else as of quantize().
    """
    return _compress("lowrank", model, output, calib, None, report, options)


def optimize(model, output, *, recipe=None, calib=None, report=None, **options):
    """Compresses the ONNX file `model` by a recipe, to what budgets allow.

    recipe: a dictionary, {"version": 1, "steps": [...]}, or the path of a JSON file that has it. Options are those of
    `lathe optimize`: target_size="25MiB", max_drop=0.01. All else as of quantize().
    """
    return _compress("optimize", model, output, calib, recipe, report, options)
