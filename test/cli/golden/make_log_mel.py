# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Sounds for test_log_mel.py, and what transformers' WhisperFeatureExtractor makes of them. Writes log_mel.npz:

    python test/cli/golden/make_log_mel.py

Needs transformers and torch; written with transformers 5.23 and torch 2.15. Sounds of other rates are resampled by
libsamplerate first.
"""
import ctypes
import ctypes.util
import io
import struct
from pathlib import Path

import numpy as np

# Name to samples a second, kind, mels, frames (0: not padded).
CASES = {
    "tone": (16000, "tone", 80, 0),
    "noise": (16000, "noise", 80, 0),
    "noise_128": (16000, "noise", 128, 0),
    "chirp": (16000, "chirp", 128, 0),
    "silence": (16000, "silence", 80, 0),
    "impulse": (16000, "impulse", 80, 40),
    "padded": (16000, "chirp", 80, 3000),
    "cut": (16000, "noise", 80, 20),
    "tone_8k": (8000, "tone", 80, 0),
    "noise_8k": (8000, "noise", 80, 0),
    "chirp_44k": (44100, "chirp", 80, 0),
    "noise_44k": (44100, "noise", 80, 50),
    "odd_length": (16000, "noise", 80, 0),
}


def sound(name):
    """The 16-bit samples of a case: a third of a second."""
    rate, kind, _, _ = CASES[name]
    length = rate // 3 if name != "odd_length" else 487
    seconds = np.arange(length) / rate
    if kind == "tone":
        samples = 0.4 * np.sin(2 * np.pi * 440 * seconds) + 0.05 * np.sin(2 * np.pi * 3100 * seconds)
    elif kind == "noise":
        samples = np.random.RandomState(3).uniform(-0.7, 0.7, length)  # whose numbers never change
    elif kind == "chirp":
        samples = 0.6 * np.sin(2 * np.pi * (100 * seconds + 0.5 * 9000 * seconds**2))
    elif kind == "impulse":
        samples = np.where(np.arange(length) == 1234, 0.9, 0.0)
    else:
        samples = np.zeros(length)
    return np.round(samples * 32767).astype(np.int16)


def wav(samples, rate, encoding=1, bits=16, extensible=False):
    """The bytes of a WAV file: `samples` [frames] or [frames, channels] of the type to store; 24 bits from int32."""
    samples = np.asarray(samples)
    channels = 1 if samples.ndim == 1 else samples.shape[1]
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    if bits == 24:
        data = b"".join(data[i : i + 3] for i in range(0, len(data), 4))
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", 0xFFFE if extensible else encoding, channels, rate, rate * frame, frame, bits)
    if extensible:
        form += struct.pack("<HHIH", 22, bits, 0, encoding) + bytes.fromhex("000000001000800000aa00389b71")
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form
    body += b"LIST" + struct.pack("<I", 3) + b"abc\0"  # a part to skip, of odd length
    body += b"data" + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


class Request(ctypes.Structure):
    _fields_ = [
        ("data_in", ctypes.c_void_p),
        ("data_out", ctypes.c_void_p),
        ("input_frames", ctypes.c_long),
        ("output_frames", ctypes.c_long),
        ("input_frames_used", ctypes.c_long),
        ("output_frames_gen", ctypes.c_long),
        ("end_of_input", ctypes.c_int),
        ("src_ratio", ctypes.c_double),
    ]


def resample(samples, rate):
    """Floats at 16 000 samples a second."""
    if rate == 16000:
        return samples
    library = ctypes.CDLL(ctypes.util.find_library("samplerate"))
    result = np.zeros(int(len(samples) * (16000 / rate)), np.float32)
    request = Request(samples.ctypes.data, result.ctypes.data, len(samples), len(result), 0, 0, 0, 16000 / rate)
    assert library.src_simple(ctypes.byref(request), 0, 1) == 0
    return result


def features(name):
    from transformers import WhisperFeatureExtractor

    rate, _, mels, frames = CASES[name]
    samples = resample(sound(name).astype(np.float32) / 32768, rate)
    extractor = WhisperFeatureExtractor(feature_size=mels)
    padding = {"padding": "max_length", "max_length": frames * 160} if frames else {"padding": "do_not_pad"}
    result = extractor(samples, sampling_rate=16000, return_tensors="np", **padding)["input_features"][0]
    # Of long ones, what is not silence, and some of the silence.
    return result[:, :60].astype(np.float32)


if __name__ == "__main__":
    stream = io.BytesIO()
    np.savez_compressed(stream, **{name: features(name) for name in CASES})
    (Path(__file__).resolve().parent / "log_mel.npz").write_bytes(stream.getvalue())
