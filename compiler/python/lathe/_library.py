# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""liblathe through ctypes: the structures and functions of lathe.h."""
import ctypes as c
import functools
import os
from pathlib import Path

from lathe._errors import Error, Status


class LoadOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("verify", c.c_int32),
        ("device", c.c_char_p),
        ("isa", c.c_char_p),
        ("memory_budget", c.c_uint64),
        ("tf32", c.c_int32),
    ]


class ModuleInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("input_count", c.c_size_t),
        ("output_count", c.c_size_t),
        ("symbol_count", c.c_size_t),
        ("device_count", c.c_size_t),
        ("kernel_count", c.c_size_t),
        ("device", c.c_char_p),
        ("isa", c.c_char_p),
        ("manifest", c.c_char_p),
        ("manifest_size", c.c_size_t),
        ("file_bytes", c.c_uint64),
        ("constants_bytes", c.c_uint64),
        ("private_bytes", c.c_uint64),
    ]


class CTensorInfo(c.Structure):
    _fields_ = [
        ("name", c.c_char_p),
        ("dtype", c.c_int),
        ("rank", c.c_size_t),
        ("dims", c.POINTER(c.c_int64)),
        ("dim_texts", c.POINTER(c.c_char_p)),
    ]


class SymbolInfo(c.Structure):
    _fields_ = [("name", c.c_char_p), ("min", c.c_int64), ("max", c.c_int64)]


class SessionOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("threads", c.c_int32),
        ("profile", c.c_int32),
        ("memory_budget", c.c_uint64),
        ("max_dimension", c.c_int64),
        ("program", c.c_char_p),
    ]


class ProgramInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("name", c.c_char_p),
        ("input_count", c.c_size_t),
        ("output_count", c.c_size_t),
        ("symbol_count", c.c_size_t),
        ("kernel_count", c.c_size_t),
    ]


class CDocument(c.Structure):
    _fields_ = [("name", c.c_char_p), ("format", c.c_char_p), ("data", c.c_void_p), ("size", c.c_size_t)]


class Output(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("dtype", c.c_int),
        ("rank", c.c_size_t),
        ("dims", c.POINTER(c.c_int64)),
        ("size", c.c_size_t),
    ]


class GeneratorOptions(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("threads", c.c_int32),
        ("memory_budget", c.c_uint64),
        ("max_sequence", c.c_int64),
    ]


class GeneratorInfo(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("vocabulary", c.c_int64),
        ("max_sequence", c.c_int64),
        ("source_count", c.c_size_t),
        ("cache_bytes", c.c_uint64),
        ("scored_tokens", c.c_int64),
    ]


class GenerationConfig(c.Structure):
    _fields_ = [
        ("struct_size", c.c_size_t),
        ("max_new_tokens", c.c_int64),
        ("min_new_tokens", c.c_int64),
        ("do_sample", c.c_int32),
        ("seed", c.c_uint64),
        ("temperature", c.c_double),
        ("top_k", c.c_int64),
        ("top_p", c.c_double),
        ("min_p", c.c_double),
        ("typical_p", c.c_double),
        ("repetition_penalty", c.c_double),
        ("frequency_penalty", c.c_double),
        ("presence_penalty", c.c_double),
        ("no_repeat_ngram_size", c.c_int64),
        ("num_beams", c.c_int64),
        ("num_return_sequences", c.c_int64),
        ("length_penalty", c.c_double),
        ("early_stopping", c.c_int32),
        ("eos_token_ids", c.POINTER(c.c_int64)),
        ("eos_token_count", c.c_size_t),
        ("json", c.c_char_p),
        ("beam_listener", c.c_void_p),
        ("beam_context", c.c_void_p),
        ("prompt_listener", c.c_void_p),
        ("prompt_context", c.c_void_p),
        ("encoder_repetition_penalty", c.c_double),
        ("encoder_tokens", c.c_void_p),
        ("encoder_token_counts", c.c_void_p),
    ]


class TokenEvent(c.Structure):
    _fields_ = [
        ("row", c.c_size_t),
        ("index", c.c_size_t),
        ("token", c.c_int64),
        ("log_probability", c.c_float),
        ("model_log_probability", c.c_float),
        ("logits", c.POINTER(c.c_float)),
    ]


class Generated(c.Structure):
    _fields_ = [
        ("tokens", c.POINTER(c.c_int64)),
        ("count", c.c_size_t),
        ("finish", c.c_int),
        ("score", c.c_float),
    ]


TokenFn = c.CFUNCTYPE(c.c_int, c.c_void_p, c.POINTER(TokenEvent))


class KernelResult(c.Structure):
    _fields_ = [
        ("value", c.c_char_p),
        ("node", c.c_char_p),
        ("dtype", c.c_int),
        ("data", c.c_void_p),
        ("elements", c.c_size_t),
    ]


ObserveFn = c.CFUNCTYPE(None, c.c_void_p, c.c_size_t, c.POINTER(KernelResult))

_HANDLE = c.c_void_p

# Name: result, arguments.
_FUNCTIONS = {
    "lathe_version": (c.c_char_p, []),
    "lathe_last_error": (c.c_char_p, []),
    "lathe_load_options_init": (None, [c.POINTER(LoadOptions)]),
    "lathe_module_load": (c.c_int, [c.c_char_p, c.POINTER(LoadOptions), c.POINTER(_HANDLE)]),
    "lathe_module_release": (None, [_HANDLE]),
    "lathe_module_info_init": (None, [c.POINTER(ModuleInfo)]),
    "lathe_module_get_info": (c.c_int, [_HANDLE, c.POINTER(ModuleInfo)]),
    "lathe_program_info_init": (None, [c.POINTER(ProgramInfo)]),
    "lathe_module_program_count": (c.c_int, [_HANDLE, c.POINTER(c.c_size_t)]),
    "lathe_module_program_info": (c.c_int, [_HANDLE, c.c_size_t, c.POINTER(ProgramInfo)]),
    "lathe_module_program_input": (c.c_int, [_HANDLE, c.c_size_t, c.c_size_t, c.POINTER(CTensorInfo)]),
    "lathe_module_program_output": (c.c_int, [_HANDLE, c.c_size_t, c.c_size_t, c.POINTER(CTensorInfo)]),
    "lathe_module_program_find_input": (c.c_int, [_HANDLE, c.c_size_t, c.c_char_p, c.POINTER(c.c_size_t)]),
    "lathe_module_program_symbol": (c.c_int, [_HANDLE, c.c_size_t, c.c_size_t, c.POINTER(SymbolInfo)]),
    "lathe_module_document_count": (c.c_int, [_HANDLE, c.POINTER(c.c_size_t)]),
    "lathe_module_document": (c.c_int, [_HANDLE, c.c_size_t, c.POINTER(CDocument)]),
    "lathe_module_find_document": (c.c_int, [_HANDLE, c.c_char_p, c.POINTER(c.c_size_t)]),
    "lathe_module_device": (c.c_int, [_HANDLE, c.c_size_t, c.POINTER(c.c_char_p)]),
    "lathe_session_options_init": (None, [c.POINTER(SessionOptions)]),
    "lathe_session_create": (c.c_int, [_HANDLE, c.POINTER(SessionOptions), c.POINTER(_HANDLE)]),
    "lathe_session_release": (None, [_HANDLE]),
    "lathe_session_set_input": (
        c.c_int,
        [_HANDLE, c.c_size_t, c.c_int, c.c_size_t, c.POINTER(c.c_int64), c.c_void_p],
    ),
    "lathe_session_run": (c.c_int, [_HANDLE]),
    "lathe_session_output": (c.c_int, [_HANDLE, c.c_size_t, c.POINTER(Output)]),
    "lathe_session_set_observer": (c.c_int, [_HANDLE, ObserveFn, c.c_void_p]),
    "lathe_session_memory": (c.c_int, [_HANDLE, c.POINTER(c.c_uint64)]),
    "lathe_session_threads": (c.c_int, [_HANDLE, c.POINTER(c.c_int32)]),
    "lathe_generator_options_init": (None, [c.POINTER(GeneratorOptions)]),
    "lathe_generator_create": (c.c_int, [_HANDLE, c.POINTER(GeneratorOptions), c.POINTER(_HANDLE)]),
    "lathe_generator_release": (None, [_HANDLE]),
    "lathe_generator_info_init": (None, [c.POINTER(GeneratorInfo)]),
    "lathe_generator_get_info": (c.c_int, [_HANDLE, c.POINTER(GeneratorInfo)]),
    "lathe_generator_source": (c.c_int, [_HANDLE, c.c_size_t, c.POINTER(CTensorInfo)]),
    "lathe_generation_config_init": (None, [c.POINTER(GenerationConfig)]),
    "lathe_generator_set_source": (
        c.c_int,
        [_HANDLE, c.c_size_t, c.c_size_t, c.c_int, c.c_size_t, c.POINTER(c.c_int64), c.c_void_p],
    ),
    "lathe_generate": (
        c.c_int,
        [
            _HANDLE,
            c.c_size_t,
            c.POINTER(c.c_void_p),
            c.POINTER(c.c_size_t),
            c.POINTER(GenerationConfig),
            TokenFn,
            c.c_void_p,
        ],
    ),
    "lathe_generator_result_count": (c.c_int, [_HANDLE, c.POINTER(c.c_size_t)]),
    "lathe_generator_result": (c.c_int, [_HANDLE, c.c_size_t, c.POINTER(Generated)]),
    "lathe_generator_begin": (c.c_int, [_HANDLE, c.c_size_t]),
    "lathe_generator_append": (
        c.c_int,
        [_HANDLE, c.POINTER(c.c_int64), c.c_size_t, c.POINTER(c.POINTER(c.c_float))],
    ),
    "lathe_generator_score": (c.c_int, [_HANDLE, c.POINTER(c.c_int64), c.c_size_t, c.POINTER(c.c_float)]),
}


def places():
    """Folders that may hold bin/lathe and lib/liblathe.so.0: in a wheel the package's own; in a build tree the one above
    python/lathe; in an installation the one above lib/python3/dist-packages/lathe."""
    # Not resolved: in a build tree the package is a link, and the library lies beside the link.
    package = Path(os.path.abspath(__file__)).parent
    return [package / "_native", package.parents[1], *package.parents[3:4]]


def _candidates(variable, name):
    given = os.environ.get(variable)
    if given:
        return [given]
    return [str(base / "lib" / f"{name}.so.0") for base in places()] + [f"{name}.so.0"]


def open_library(variable, name, functions):
    """The library `name`, with the types of its functions. `variable` of the environment says where it is."""
    failures = []
    for path in _candidates(variable, name):
        try:
            lib = c.CDLL(path)
            break
        except OSError as error:
            failures.append(str(error))
    else:
        raise Error(f"cannot load {name} (set {variable}): " + "; ".join(failures))
    for function_name, (result, arguments) in functions.items():
        function = getattr(lib, function_name)
        function.restype, function.argtypes = result, arguments
    return lib


@functools.lru_cache(maxsize=None)
def library():
    """The loaded liblathe."""
    return open_library("LATHE_LIBRARY", "liblathe", _FUNCTIONS)


def check(status):
    """Raises the last error of this thread unless `status` is OK."""
    if status != Status.OK:
        raise Error(library().lathe_last_error().decode(errors="replace"), status=Status(status))
