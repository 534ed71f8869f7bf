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


class Output(c.Structure):
    _fields_ = [
        ("data", c.c_void_p),
        ("dtype", c.c_int),
        ("rank", c.c_size_t),
        ("dims", c.POINTER(c.c_int64)),
        ("size", c.c_size_t),
    ]


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
    "lathe_session_memory": (c.c_int, [_HANDLE, c.POINTER(c.c_uint64)]),
    "lathe_session_threads": (c.c_int, [_HANDLE, c.POINTER(c.c_int32)]),
}


def _candidates():
    given = os.environ.get("LATHE_LIBRARY")
    if given:
        return [given]
    # Not resolved: in a build tree the package is a link, and the library lies beside the link.
    base = Path(os.path.abspath(__file__)).parents[2]
    return [str(base / "lib" / "liblathe.so"), str(base / "lib" / "liblathe.so.0"), "liblathe.so.0"]


@functools.lru_cache(maxsize=None)
def library():
    """The loaded liblathe, with the types of its functions."""
    failures = []
    for path in _candidates():
        try:
            lib = c.CDLL(path)
            break
        except OSError as error:
            failures.append(str(error))
    else:
        raise Error("cannot load liblathe (set LATHE_LIBRARY): " + "; ".join(failures))
    for name, (result, arguments) in _FUNCTIONS.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    return lib


def check(status):
    """Raises the last error of this thread unless `status` is OK."""
    if status != Status.OK:
        raise Error(library().lathe_last_error().decode(errors="replace"), status=Status(status))
