# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""`lathe log-mel` against transformers' WhisperFeatureExtractor (golden/make_log_mel.py), and its failures."""
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_support import USAGE, check_failure

GOLDEN = Path(__file__).resolve().parent / "golden"
sys.path.insert(0, str(GOLDEN))
from make_log_mel import CASES, sound, wav  # noqa: E402


@pytest.fixture
def log_mel(lathe_tool, tmp_path):
    def run(content, *flags):
        (tmp_path / "in.wav").write_bytes(content)
        lathe_tool.ok("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.npy", *flags)
        return np.load(tmp_path / "out.npy")

    return run


@pytest.mark.parametrize("name", CASES)
def test_equals_transformers(name, log_mel):
    rate, _, mels, frames = CASES[name]
    with np.load(GOLDEN / "log_mel.npz") as golden:
        expected = golden[name]
    result = log_mel(wav(sound(name), rate), "--mels", mels, "--frames", frames)
    length = len(sound(name)) * 16000 // rate
    assert result.shape == (1, mels, frames or length // 160) and result.dtype == np.float32
    np.testing.assert_allclose(result[0, :, : expected.shape[1]], expected, rtol=0, atol=1e-4)
    if frames == 3000:
        assert np.all(result[0, :, 60:] == result[0, 0, -1])


def test_npz_has_the_name_of_the_input(lathe_tool, tmp_path):
    (tmp_path / "in.wav").write_bytes(wav(sound("tone"), 16000))
    for flags, name in (((), "input_features"), (("--name", "mel"), "mel")):
        out = lathe_tool.ok("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.npz", *flags)
        assert "[1, 80, 3000] of 0.33 s" in out
        with np.load(tmp_path / "out.npz") as arrays:
            assert arrays.files == [name] and arrays[name].shape == (1, 80, 3000)


def test_every_encoding_is_the_same_sound(log_mel):
    samples = sound("noise")
    expected = log_mel(wav(samples, 16000), "--frames", 0)
    wide = samples.astype(np.int32)
    exact = {
        "24 bits": wav(wide << 8, 16000, bits=24),
        "32 bits": wav(wide << 16, 16000, bits=32),
        "f32": wav(samples.astype(np.float32) / 32768, 16000, encoding=3, bits=32),
        "f64": wav(samples / 32768, 16000, encoding=3, bits=64),
        "extensible": wav(wide << 8, 16000, bits=24, extensible=True),
        "extensible f32": wav(samples.astype(np.float32) / 32768, 16000, encoding=3, bits=32, extensible=True),
        "stereo": wav(np.stack([samples, samples], axis=1), 16000),
        "averaged": wav(np.stack([2 * (wide << 14), np.zeros_like(wide), wide << 16], axis=1) * 1, 16000, bits=32),
    }
    for name, content in exact.items():
        if name == "averaged":  # a third of (1/2 + 0 + 1) is a half of the sound
            np.testing.assert_allclose(log_mel(content, "--frames", 0), expected + np.log10(0.25) / 4, atol=1e-4)
        else:
            np.testing.assert_array_equal(log_mel(content, "--frames", 0), expected, err_msg=name)
    coarse = wav(((samples >> 8) + 128).astype(np.uint8), 16000, bits=8)
    assert np.abs(log_mel(coarse, "--frames", 0) - expected).mean() < 0.02


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_tones_keep_their_pitch(rate, log_mel):
    """Whatever the rate: the same filters ring, as loud."""
    def tone(rate):
        return wav(np.round(10000 * np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)).astype(np.int16), rate)

    expected = log_mel(tone(16000), "--frames", 0)[0, :, 5:45]
    result = log_mel(tone(rate), "--frames", 0)[0, :, 5:45]
    loud = expected > expected.max() - 1  # 40 dB below, where the two's rounding to 16 bits is far away
    np.testing.assert_allclose(result[loud], expected[loud], atol=5e-3)
    assert result.argmax(axis=0).tolist() == expected.argmax(axis=0).tolist()


def test_long_sounds_are_cut_with_a_note(lathe_tool, tmp_path):
    (tmp_path / "in.wav").write_bytes(wav(np.zeros(16000, np.int16), 16000))
    result = lathe_tool("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.npz", "--frames", 20)
    assert result.returncode == 0 and "only the first 0.20 s" in result.stderr


GOOD = wav(sound("tone"), 16000)


@pytest.mark.parametrize(
    "content, words",
    [
        (None, ["in.wav", "No such file"]),
        (b"", ["RIFF"]),
        (b"RIFF\0\0\0\0WAVE", ["no data"]),
        (b"fLaC" + bytes(100), ["RIFF"]),
        (GOOD[:100], ["cut off"]),
        (GOOD[:40], ["no data"]),
        (GOOD[:12] + GOOD[36:], ["data", "before their format"]),
        (wav(sound("tone"), 0), ["no samples a second"]),
        (wav(sound("tone"), 999), ["from 1000 to 192000", "999"]),
        (wav(sound("tone"), 16000, bits=12), ["bits", "12"]),
        (wav(sound("tone"), 16000, encoding=7), ["encoding 7"]),
        (wav(np.zeros((10, 0), np.int16), 16000), ["no channels"]),
        (wav(np.array([0, np.nan], np.float32), 16000, encoding=3, bits=32), ["sample 1", "finite"]),
        (GOOD[:32] + b"\7\0" + GOOD[34:], ["expected 2 bytes", "got 7"]),
    ],
    ids=[
        *("missing", "empty", "header", "flac", "cut-data", "cut-parts", "no-format", "rate-0", "rate-999"),
        *("12-bits", "law", "channels", "nan", "frame"),
    ],
)
def test_sounds_that_cannot_be_read(content, words, lathe_tool, tmp_path):
    if content is not None:
        (tmp_path / "in.wav").write_bytes(content)
    result = lathe_tool("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.npz")
    check_failure(result, USAGE, *words)
    assert not (tmp_path / "out.npz").exists()


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--mels", "0"], ["--mels"]),
        (["--mels", "129"], ["--mels", "128"]),
        (["--frames", "-1"], ["frames", "from 2", "-1"]),
        (["--frames", "1"], ["frames", "from 2", "1"]),
        (["--frames", "1000000000000"], ["frames", "360000"]),
    ],
)
def test_flags_out_of_range(flags, words, lathe_tool, tmp_path):
    (tmp_path / "in.wav").write_bytes(GOOD)
    check_failure(lathe_tool("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.npz", *flags), USAGE, *words)


def test_short_sounds_need_padding(log_mel, lathe_tool, tmp_path):
    assert log_mel(wav(np.zeros(0, np.int16), 16000)).shape == (1, 80, 3000)
    assert log_mel(wav(np.zeros(201, np.int16), 16000), "--frames", 0).shape == (1, 80, 1)
    (tmp_path / "in.wav").write_bytes(wav(np.zeros(200, np.int16), 16000))
    result = lathe_tool("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.npz", "--frames", 0)
    check_failure(result, USAGE, "more than 200 samples", "got 200")
    result = lathe_tool("log-mel", tmp_path / "in.wav", "-o", tmp_path / "out.txt")
    check_failure(result, USAGE, ".npz", "out.txt")
