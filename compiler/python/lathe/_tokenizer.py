# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""liblathe_tokenizer through ctypes: texts to ids and back."""
import ctypes as c
import functools
import os
import weakref

from lathe import _library
from lathe._errors import Error, Status

_HANDLE = c.c_void_p
_SIZE = c.POINTER(c.c_size_t)


class _Info(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("kind", c.c_char_p),
        ("vocabulary_size", c.c_size_t),
        ("special_count", c.c_size_t),
        ("max_id", c.c_int64),
        ("bos_id", c.c_int64),
        ("eos_id", c.c_int64),
        ("unk_id", c.c_int64),
    ]


# Name: result, arguments.
_FUNCTIONS = {
    "lathe_tokenizer_last_error": (c.c_char_p, []),
    "lathe_tokenizer_load": (c.c_int, [c.c_char_p, c.POINTER(_HANDLE)]),
    "lathe_tokenizer_load_memory": (c.c_int, [c.c_char_p, c.c_size_t, c.POINTER(_HANDLE)]),
    "lathe_tokenizer_release": (None, [_HANDLE]),
    "lathe_tokenizer_info_init": (None, [c.POINTER(_Info)]),
    "lathe_tokenizer_get_info": (c.c_int, [_HANDLE, c.POINTER(_Info)]),
    "lathe_tokenizer_token_id": (c.c_int, [_HANDLE, c.c_char_p, c.c_size_t, c.POINTER(c.c_int64)]),
    "lathe_tokenizer_encode": (
        c.c_int,
        [_HANDLE, c.c_char_p, c.c_size_t, c.c_int32, c.POINTER(c.POINTER(c.c_int64)), _SIZE],
    ),
    "lathe_tokenizer_decode": (
        c.c_int,
        [_HANDLE, c.POINTER(c.c_int64), c.c_size_t, c.c_int32, c.POINTER(c.c_void_p), _SIZE],
    ),
    "lathe_tokenizer_free": (None, [c.c_void_p]),
    "lathe_tokenizer_stream_create": (c.c_int, [_HANDLE, c.c_int32, c.POINTER(_HANDLE)]),
    "lathe_tokenizer_stream_push": (c.c_int, [_HANDLE, c.c_int64, c.POINTER(c.c_void_p), _SIZE]),
    "lathe_tokenizer_stream_finish": (c.c_int, [_HANDLE, c.POINTER(c.c_void_p), _SIZE]),
    "lathe_tokenizer_stream_release": (None, [_HANDLE]),
}


@functools.lru_cache(maxsize=None)
def _tokenizers():
    """The loaded liblathe_tokenizer, with the types of its functions."""
    return _library.open_library("LATHE_TOKENIZER_LIBRARY", "liblathe_tokenizer", _FUNCTIONS)


def _check(status):
    if status != Status.OK:
        raise Error(_tokenizers().lathe_tokenizer_last_error().decode(errors="replace"), status=Status(status))


class Tokenizer:
    """Turns texts into ids and back; usable from any thread.

    source: the path of a tokenizer.json or of a SentencePiece model, or the bytes of such a file. Raises Error.
    """

    def __init__(self, source):
        lib = _tokenizers()
        handle = _HANDLE()
        if isinstance(source, (bytes, bytearray)):
            _check(lib.lathe_tokenizer_load_memory(bytes(source), len(source), c.byref(handle)))
        else:
            _check(lib.lathe_tokenizer_load(os.fsencode(source), c.byref(handle)))
        self._handle = handle
        self._finalizer = weakref.finalize(self, lib.lathe_tokenizer_release, handle)
        info = _Info()
        lib.lathe_tokenizer_info_init(c.byref(info))
        _check(lib.lathe_tokenizer_get_info(handle, c.byref(info)))
        self.vocabulary_size = info.vocabulary_size
        self.bos_token_id, self.eos_token_id, self.unk_token_id = (
            value if value >= 0 else None for value in (info.bos_id, info.eos_id, info.unk_id)
        )

    def token_id(self, token):
        """The id of the token that is written so; None where there is none."""
        data, value = token.encode("utf-8", "surrogatepass"), c.c_int64()
        status = _tokenizers().lathe_tokenizer_token_id(self._handle, data, len(data), c.byref(value))
        if status == Status.NOT_FOUND:
            return None
        _check(status)
        return value.value

    def encode(self, text, add_special_tokens=True):
        """The ids of a text, a list."""
        lib = _tokenizers()
        data = text.encode("utf-8", "surrogatepass")
        ids, count = c.POINTER(c.c_int64)(), c.c_size_t()
        _check(lib.lathe_tokenizer_encode(self._handle, data, len(data), add_special_tokens, c.byref(ids), c.byref(count)))
        try:
            return ids[: count.value]
        finally:
            lib.lathe_tokenizer_free(ids)

    def decode(self, ids, skip_special_tokens=True):
        """The text of ids."""
        lib = _tokenizers()
        ids = [int(one) for one in ids]
        text, size = c.c_void_p(), c.c_size_t()
        array = (c.c_int64 * len(ids))(*ids)
        _check(lib.lathe_tokenizer_decode(self._handle, array, len(ids), skip_special_tokens, c.byref(text), c.byref(size)))
        try:
            return c.string_at(text, size.value).decode()
        finally:
            lib.lathe_tokenizer_free(text)

    def stream(self, skip_special_tokens=True):
        """A TokenStream: ids that become text one by one."""
        return TokenStream(self, skip_special_tokens)


class TokenStream:
    """The text of ids as it grows. Made by Tokenizer.stream(); used by one thread at a time."""

    def __init__(self, tokenizer, skip_special_tokens):
        lib = _tokenizers()
        self._tokenizer = tokenizer  # which must outlive the stream
        self._handle = _HANDLE()
        _check(lib.lathe_tokenizer_stream_create(tokenizer._handle, skip_special_tokens, c.byref(self._handle)))
        self._finalizer = weakref.finalize(self, lib.lathe_tokenizer_stream_release, self._handle)

    def push(self, token):
        """The text that this id settles: whole characters, or nothing."""
        text, size = c.c_void_p(), c.c_size_t()
        _check(_tokenizers().lathe_tokenizer_stream_push(self._handle, token, c.byref(text), c.byref(size)))
        return c.string_at(text, size.value).decode() if size.value else ""

    def finish(self):
        """The rest of the text; another may begin."""
        text, size = c.c_void_p(), c.c_size_t()
        _check(_tokenizers().lathe_tokenizer_stream_finish(self._handle, c.byref(text), c.byref(size)))
        return c.string_at(text, size.value).decode() if size.value else ""
