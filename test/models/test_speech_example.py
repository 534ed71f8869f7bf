# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The example that writes down speech, on a small wav2vec2 with random weights, against ONNX Runtime."""
import importlib.util
import json
import string
import subprocess
import sys
import wave
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "speech_ctc" / "transcribe.py"
TOKENS = ["<pad>", "<s>", "</s>", "<unk>", "|", "'", *string.ascii_uppercase]


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("transcribe", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "vocab.json"
    path.write_text(json.dumps({token: number for number, token in enumerate(TOKENS)}))
    return path


def write_wav(path, samples, rate=16000, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        file.writeframes(samples.astype("<i2").tobytes())
    return path


def transcribe(build, *arguments):
    environment = {"PYTHONPATH": str(build / "python"), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, SCRIPT, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


def test_greedy_decoding(example, vocabulary):
    words = example.Vocabulary(vocabulary)
    frames = [0, 13, 13, 0, 10, 17, 17, 0, 17, 20, 4, 4, 0, 1, 28, 0]
    tokens = example.ctc_greedy(np.eye(32)[frames], words.blank)
    assert tokens == [13, 10, 17, 17, 20, 4, 1, 28]
    assert words.decode(tokens) == "HELLO W"
    assert example.ctc_greedy(np.zeros((0, 32)), 0) == [] and words.decode([]) == ""


def test_input_has_zero_mean_and_unit_variance(example):
    samples = np.random.RandomState(0).uniform(-0.1, 0.5, 1000).astype(np.float32)
    result = example.normalized(samples)
    assert result.dtype == np.float32
    np.testing.assert_allclose([result.mean(), result.var()], [0, 1], atol=1e-5)
    assert not example.normalized(np.full(500, 0.25, np.float32)).any()


@pytest.mark.parametrize("length, channels", [(1600, 1), (5000, 2), (16001, 1)])
def test_texts_are_those_of_onnx_runtime(length, channels, artifact, onnx_path, build, vocabulary, tmp_path):
    samples = np.random.RandomState(length).randint(-20000, 20000, (length, channels))
    path = write_wav(tmp_path / "speech.wav", samples, channels=channels)
    result = transcribe(build, artifact("wav2vec2"), vocabulary, path)
    assert result.returncode == 0, result.stderr

    sound = samples.mean(axis=1) / 32768
    values = ((sound - sound.mean()) / np.sqrt(sound.var() + 1e-7)).astype(np.float32)
    (logits,) = onnxruntime.InferenceSession(onnx_path("wav2vec2")).run(None, {"input_values": values[None]})
    text, last = "", None
    for token in logits[0].argmax(axis=-1):
        if token != last and token > 3:
            text += " " if token == 4 else TOKENS[token]
        last = token
    assert result.stdout.startswith(f"{path}: {text.strip()}\n")
    assert text.strip()


def test_failures_say_what_was_expected(artifact, build, vocabulary, tmp_path):
    model = artifact("wav2vec2")
    path = write_wav(tmp_path / "speech.wav", np.zeros(100), rate=8000)
    result = transcribe(build, model, vocabulary, path)
    assert result.returncode != 0 and "expected 16 bits at 16000 samples a second, got 16 bits at 8000" in result.stderr
    path = write_wav(tmp_path / "speech.wav", np.zeros(0))
    assert "expected a sound, got none" in transcribe(build, model, vocabulary, path).stderr
    vocabulary.write_text('{"a": 0}')
    assert "which stands for no sound" in transcribe(build, model, vocabulary, path).stderr
