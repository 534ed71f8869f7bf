# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Models that ONNX Runtime has optimized give what they gave before."""

import warnings

import onnxruntime
import pytest
from support import MODELS, assert_close, make_inputs

import lathe

SHAPES = [(2, 7), (1, 1)]


def by_session(source, target, model):
    """What a session writes: FusedMatMul, FusedGemm, BiasGelu, QuickGelu, FastGelu, SkipLayerNormalization."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(source), options, providers=["CPUExecutionProvider"])


def by_transformers(source, target, model):
    """What its optimizer for Transformers writes: also EmbedLayerNormalization and SkipSimplifiedLayerNormalization."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnxruntime.transformers import optimizer

        kind = "gpt2" if MODELS[model].cache else "bert"
        optimizer.optimize_model(str(source), model_type=kind, opt_level=0).save_model_to_file(str(target))


@pytest.mark.parametrize(
    "optimize, name",
    [(by_session, name) for name in ("bert", "gpt2", "llama")] + [(by_transformers, name) for name in ("distilbert", "roberta", "llama")],
)
def test_optimized(name, optimize, onnx_path, oracle, tmp_path):
    optimize(onnx_path(name), tmp_path / "model.onnx", name)
    session = lathe.load(lathe.compile(tmp_path / "model.onnx", tmp_path / "model.lathe")).session()
    for batch, sequence in SHAPES:
        for past in (0, 5) if MODELS[name].cache else (0,):
            inputs = make_inputs(name, batch, sequence, past, padded=True)
            assert_close(session.run(inputs), oracle(name, inputs))
