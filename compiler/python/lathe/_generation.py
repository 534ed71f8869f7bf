# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Text generation: generators over a module, with the names of Hugging Face."""
import ctypes as c
import json
import os
import queue
import threading
import weakref
from pathlib import Path
from typing import NamedTuple, Optional, Tuple

import numpy as np

from lathe import _library
from lathe._errors import Error, Status
from lathe._library import check, library
from lathe._tokenizer import Tokenizer

_CONTINUE, _END_ROW, _CANCEL = range(3)
_FINISH = (None, "eos", "length", "max_sequence", "stopped")
_NUMBERS = {
    "max_new_tokens": int,
    "min_new_tokens": int,
    "seed": int,
    "temperature": float,
    "top_k": int,
    "top_p": float,
    "min_p": float,
    "typical_p": float,
    "repetition_penalty": float,
    "frequency_penalty": float,
    "presence_penalty": float,
    "no_repeat_ngram_size": int,
    "num_beams": int,
    "num_return_sequences": int,
    "length_penalty": float,
}
_OF_SAMPLING = ("temperature", "top_k", "top_p", "min_p", "typical_p")


class Generated(NamedTuple):
    """A result of Generator.generate(): the new tokens, and why they end.

    finish_reason: "eos", "length" (max_new_tokens), "max_sequence", or "stopped" (a stop string, or the listener).
    score: of beams as in Hugging Face, else the sum of the tokens' log-probabilities. text is None without a tokenizer.
    """

    ids: Tuple[int, ...]
    text: Optional[str]
    finish_reason: Optional[str]
    score: float


def _invalid(message):
    return Error(message, status=Status.INVALID_ARGUMENT)


def _number(name, value):
    try:
        return _NUMBERS.get(name, int)(value)
    except (TypeError, ValueError, OverflowError):
        raise _invalid(f"expected a number for {name}, got {value!r}") from None


def _count(config, name):
    """A number of results or beams; the runtime says what is wrong with others."""
    value = config.get(name, 1)
    return min(max(value, 1), 1024) if isinstance(value, int) else 1


def _is_ids(value):
    return isinstance(value, np.ndarray) or (
        isinstance(value, (list, tuple)) and all(isinstance(one, (int, np.integer)) for one in value)
    )


class _Row:
    """What a row's tokens are as text: pieces, up to a stop string."""

    def __init__(self, tokenizer, stops):
        self._stream = tokenizer.stream() if tokenizer else None
        self._stops = stops
        self._held = ""  # what may be the beginning of a stop string
        self.text = ""
        self.stopped = False

    def _emit(self, text):
        self.text += text
        return text

    def push(self, token):
        """The text that is settled now."""
        if self.stopped or not self._stream:
            return ""
        self._held += self._stream.push(token)
        found = [place for place in map(self._held.find, self._stops) if place >= 0]
        if found:
            self.stopped = True
            return self._emit(self._held[: min(found)])
        kept = max((self._begun(stop) for stop in self._stops), default=0)
        settled = len(self._held) - kept
        text, self._held = self._held[:settled], self._held[settled:]
        return self._emit(text)

    def _begun(self, stop):
        """Characters at the end that begin `stop`."""
        return next((n for n in range(min(len(stop) - 1, len(self._held)), 0, -1) if self._held.endswith(stop[:n])), 0)

    def finish(self):
        """The rest."""
        if self.stopped or not self._stream:
            return ""
        self._held += self._stream.finish()
        found = [place for place in map(self._held.find, self._stops) if place >= 0]
        return self._emit(self._held[: min(found)] if found else self._held)


class Generator:
    """Goes on with sequences of tokens. Generators are independent; calls on one wait for each other. Made by
    Module.generator()."""

    def __init__(self, module, threads=0, memory_budget=0, max_sequence=0):
        options = _library.GeneratorOptions()
        library().lathe_generator_options_init(c.byref(options))
        options.threads = threads
        options.memory_budget = memory_budget
        options.max_sequence = max_sequence
        self.module = module
        self._handle = c.c_void_p()
        check(library().lathe_generator_create(module._handle, c.byref(options), c.byref(self._handle)))
        self._finalizer = weakref.finalize(self, library().lathe_generator_release, self._handle)
        self._lock = threading.Lock()
        self._sequences = 0
        info = self._info()
        self.vocabulary = info.vocabulary
        self.max_sequence = info.max_sequence
        self.sources = tuple(self._source(index) for index in range(info.source_count))

    def _info(self):
        info = _library.GeneratorInfo()
        library().lathe_generator_info_init(c.byref(info))
        check(library().lathe_generator_get_info(self._handle, c.byref(info)))
        return info

    def _source(self, index):
        from lathe._runtime import tensor_info

        info = _library.CTensorInfo()
        check(library().lathe_generator_source(self._handle, index, c.byref(info)))
        return tensor_info(info)

    @property
    def cache_bytes(self):
        """Bytes that the cache holds now."""
        return self._info().cache_bytes

    def generate(
        self,
        prompt=None,
        encoder_inputs=None,
        *,
        tokenizer=None,
        stream=False,
        listener=None,
        stop_strings=None,
        return_dict_in_generate=False,
        **config,
    ):
        """Goes on with a prompt, or with each of a list of them, of any lengths.

        prompt: a string, which needs a tokenizer, or its ids, or a list of either; for a model with an encoder, what its
        decoder starts with. encoder_inputs: for such a model, an array by the name of each of its inputs, whose first
        axis is 1, or a list of such dictionaries, one a prompt.

        tokenizer: a Tokenizer or the path of its file, default the module's: that of load(), or what the artifact carries. Further parameters are those of Hugging
        Face's GenerationConfig: max_new_tokens, min_new_tokens, do_sample, seed, temperature, top_k, top_p, min_p,
        typical_p, repetition_penalty, frequency_penalty, presence_penalty, no_repeat_ngram_size, num_beams,
        num_return_sequences, length_penalty, early_stopping, eos_token_id (default the tokenizer's), and
        generation_config, the path of a generation_config.json or a dictionary of its members; default, the one that the
        artifact carries. What is given comes before it, and top_k is 0, all, unless one of them says otherwise. Without
        do_sample, tokens are drawn where one of temperature, top_k, top_p, min_p and typical_p is given, and temperature 0 is
        the most probable token.

        stop_strings: texts that end a row, and are not part of its text. listener: called with (row, token,
        log_probability) of each token as it is chosen; False ends the row, and an exception all of them.

        Returns the new text for a string and the list of new ids for ids; a list of these for a list of prompts or with
        num_return_sequences above 1, in the order of the prompts; with return_dict_in_generate a list of Generated.
        With stream=True an iterator of pieces of the text (of ids: of single ids) as they are chosen, and of pairs of
        row and piece where there is more than one row; what ends it early ends generation. Raises Error.
        """
        single = isinstance(prompt, str) or prompt is None or _is_ids(prompt)
        prompts = [prompt] if single else list(prompt)
        if isinstance(tokenizer, (str, os.PathLike, bytes)):
            tokenizer = Tokenizer(tokenizer)
        tokenizer = tokenizer or self.module.tokenizer
        config = self._config(config)
        if "eos_token_id" not in config and tokenizer and tokenizer.eos_token_id is not None:
            config["eos_token_id"] = tokenizer.eos_token_id
        # Looked for in the text, which the runtime does not know.
        carried = config.pop("stop_strings", None)
        stop_strings = carried if stop_strings is None else stop_strings
        if isinstance(stop_strings, str):
            stop_strings = [stop_strings]
        stops = [one for one in stop_strings or () if one]
        if stops and not tokenizer:
            raise _invalid("stop_strings need a tokenizer, and the artifact carries none: load(path, tokenizer=…) or generate(…, tokenizer=…)")
        as_text = [isinstance(one, str) for one in prompts]
        ids = [self._ids(index, one, tokenizer) for index, one in enumerate(prompts)]
        sources = [encoder_inputs] if isinstance(encoder_inputs, dict) else list(encoder_inputs or ())
        if _count(config, "num_beams") > 1 and (stream or listener or stops):
            raise _invalid("beams have no tokens until the end: no stream, listener or stop_strings")
        native = self._native(config)
        copies = _count(config, "num_return_sequences")
        rows = [_Row(tokenizer, stops) for _ in range(len(ids) * copies)]

        def told(event, show):
            row, token = rows[event.row], event.token
            piece = row.push(token)
            text = as_text[event.row // copies]
            if show and (piece or not text):
                show(event.row, piece if text else token)
            if listener and listener(event.row, token, event.log_probability) is False:
                return _END_ROW
            return _END_ROW if row.stopped else _CONTINUE

        def run(show=None):
            with self._lock:
                results = self._generate(ids, sources, native, told if show or listener or stops else None, show)
            return [self._result(result, rows[i], tokenizer, bool(stops)) for i, result in enumerate(results)]

        single = single and copies == 1
        if stream:
            return _stream(run, rows, [as_text[i // copies] for i in range(len(rows))], single)
        results = run()
        if return_dict_in_generate:
            return results
        values = [result.text if as_text[i // copies] else list(result.ids) for i, result in enumerate(results)]
        return values[0] if single else values

    def begin(self, sequences, encoder_inputs=()):
        """Forgets all sequences of begin() and starts as many, for append()."""
        with self._lock:
            keep = self._set_sources(list(encoder_inputs))
            check(library().lathe_generator_begin(self._handle, sequences))
            del keep
            self._sequences = sequences

    def append(self, tokens):
        """Appends tokens [sequences, count], and returns the logits [sequences, vocabulary] after the last of them."""
        tokens = self._tokens(tokens)
        with self._lock:
            logits = c.POINTER(c.c_float)()
            data = tokens.ctypes.data_as(c.POINTER(c.c_int64))
            check(library().lathe_generator_append(self._handle, data, tokens.shape[1], c.byref(logits)))
            return np.ctypeslib.as_array(logits, (tokens.shape[0], self.vocabulary)).copy()

    def score(self, tokens):
        """Appends tokens [sequences, count], and returns the natural logarithms of their probabilities, each after all tokens
        before it, [sequences, count]: NaN for the first token of a sequence, which nothing predicts."""
        tokens = self._tokens(tokens)
        result = np.empty(tokens.shape, np.float32)
        with self._lock:
            data = tokens.ctypes.data_as(c.POINTER(c.c_int64))
            into = result.ctypes.data_as(c.POINTER(c.c_float))
            check(library().lathe_generator_score(self._handle, data, tokens.shape[1], into))
        return result

    def _tokens(self, tokens):
        tokens = np.ascontiguousarray(tokens, np.int64)
        if tokens.ndim != 2 or tokens.shape[0] != self._sequences:
            raise _invalid(f"expected tokens [{self._sequences}, count], got {list(tokens.shape)}")
        return tokens

    @staticmethod
    def _ids(index, prompt, tokenizer):
        if isinstance(prompt, str):
            if not tokenizer:
                raise _invalid(
                    "a prompt that is a string needs a tokenizer, and the artifact carries none: load(path, tokenizer=…) or "
                    "generate(…, tokenizer=…)"
                )
            return np.array(tokenizer.encode(prompt), np.int64)
        array = np.asarray(prompt if prompt is not None else [])
        if array.ndim != 1 or (array.size and not np.issubdtype(array.dtype, np.integer)):
            raise _invalid(f"expected a string or a list of ids for prompt {index}, got {array.dtype} {list(array.shape)}")
        return np.ascontiguousarray(array, np.int64)

    def _config(self, given):
        """The members of a generation_config.json: what is given over the file's or the artifact's."""
        source = given.get("generation_config")
        if source is None:
            document = self.module.generation_config or {}
        elif isinstance(source, dict):
            document = source
        else:
            try:
                document = json.loads(Path(os.fsdecode(source)).read_bytes())
            except ValueError:
                document = None
            if not isinstance(document, dict):
                raise _invalid(f"expected a JSON object in '{os.fsdecode(source)}', as a generation_config.json has")
        config = {"top_k": 0, **{name: value for name, value in document.items() if value is not None}}
        for name, value in given.items():
            if value is None or name == "generation_config":
                continue
            if name in _NUMBERS:
                config[name] = _number(name, value)
            elif name == "early_stopping":
                if value not in (False, True, "never"):
                    raise _invalid(f'expected True, False or "never" for early_stopping, got {value!r}')
                config[name] = value if value == "never" else bool(value)
            elif name == "do_sample":
                config[name] = bool(value)
            elif name == "eos_token_id":
                ends = value if isinstance(value, (list, tuple, np.ndarray)) else [value]
                config[name] = [_number(name, end) for end in ends]
            else:
                raise _invalid(f"{name} is not a parameter of generation")
        if given.get("do_sample") is None:
            if config.get("temperature") == 0:
                config["do_sample"] = False
            elif any(given.get(name) is not None for name in _OF_SAMPLING):
                config["do_sample"] = True
            elif given.get("num_beams") is not None:
                config["do_sample"] = False
        if not config.get("do_sample") and config.get("temperature") == 0:
            del config["temperature"]
        return config

    @staticmethod
    def _native(config):
        native = _library.GenerationConfig()
        library().lathe_generation_config_init(c.byref(native))
        try:
            native.json = json.dumps(config, allow_nan=False).encode()
        except ValueError:
            raise _invalid("the generation config has a number that is not finite") from None
        return native

    def _set_sources(self, sources):
        """Gives the encoder's inputs to the runtime, which borrows the arrays that this returns."""
        from lathe._runtime import dtype_code

        arrays = []
        names = [info.name for info in self.sources]
        for row, values in enumerate(sources):
            if set(values) != set(names):
                raise _invalid(f"expected encoder inputs {', '.join(names) or 'none'}, got {', '.join(values) or 'none'}")
            for index, info in enumerate(self.sources):
                array = np.require(values[info.name], requirements=["C", "A"])
                code = dtype_code(array)
                if code is None:
                    raise _invalid(f"input '{info.name}' has the unsupported type {array.dtype}")
                arrays.append(array)
                dims = (c.c_int64 * array.ndim)(*array.shape)
                data = array.ctypes.data if array.size else None
                check(library().lathe_generator_set_source(self._handle, row, index, code, array.ndim, dims, data))
        return arrays

    def _generate(self, ids, sources, native, told, show):
        arrays = self._set_sources(sources)
        pointers = (c.c_void_p * max(len(ids), 1))(*[array.ctypes.data for array in ids])
        lengths = (c.c_size_t * max(len(ids), 1))(*[array.size for array in ids])
        failure = []

        def callback(_, event):
            # An exception must not go through the runtime.
            try:
                return told(event.contents, show)
            except BaseException as error:
                failure.append(error)
                return _CANCEL

        function = _library.TokenFn(callback) if told else _library.TokenFn()
        status = library().lathe_generate(self._handle, len(ids), pointers, lengths, c.byref(native), function, None)
        del arrays
        if failure:
            raise failure[0]
        check(status)
        count = c.c_size_t()
        check(library().lathe_generator_result_count(self._handle, c.byref(count)))
        results = []
        for index in range(count.value):
            result = _library.Generated()
            check(library().lathe_generator_result(self._handle, index, c.byref(result)))
            results.append((tuple(result.tokens[: result.count]), result.finish, result.score))
        return results

    @staticmethod
    def _result(result, row, tokenizer, cut):
        ids, finish, score = result
        text = None
        if cut:
            row.finish()
            text = row.text
        elif tokenizer:
            text = tokenizer.decode(ids)
        return Generated(ids, text, _FINISH[finish], score)


class _Closed(Exception):
    """Nobody reads the stream any more."""


def _stream(run, rows, as_text, single):
    """Pieces from a thread that generates."""
    pieces = queue.Queue()
    closed = threading.Event()

    def show(row, piece):
        if closed.is_set():
            raise _Closed
        pieces.put((row, piece))

    def work():
        try:
            run(show)
            for index, row in enumerate(rows):
                rest = row.finish() if as_text[index] else ""
                if rest:
                    pieces.put((index, rest))
            pieces.put(None)
        except BaseException as error:
            pieces.put(error)

    def read():
        worker = threading.Thread(target=work, daemon=True)
        worker.start()
        try:
            while True:
                item = pieces.get()
                if item is None:
                    return
                if isinstance(item, BaseException):
                    raise item
                yield item[1] if single else item
        finally:
            closed.set()
            worker.join()

    return read()
