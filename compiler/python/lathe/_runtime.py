# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Modules and sessions."""
import ctypes as c
import json
import os
import threading
import weakref
from typing import NamedTuple, Optional, Tuple, Union

import numpy as np

from lathe import _library
from lathe._errors import Error, Status
from lathe._generation import Generator
from lathe._library import check, library
from lathe._tokenizer import Tokenizer

# lathe_dtype to numpy. Bfloat16 is not a type of numpy's: its bits travel as uint16. Nor are 8-bit floats, whose bits
# travel as uint8, and integers below 8 bits, which travel one a byte.
_DTYPES = {
    0: np.dtype(np.float32),
    1: np.dtype(np.float16),
    2: np.dtype(np.uint16),
    3: np.dtype(np.float64),
    4: np.dtype(np.int8),
    5: np.dtype(np.int16),
    6: np.dtype(np.int32),
    7: np.dtype(np.int64),
    8: np.dtype(np.uint8),
    9: np.dtype(np.uint16),
    10: np.dtype(np.uint32),
    11: np.dtype(np.uint64),
    12: np.dtype(np.bool_),
    13: np.dtype(np.uint8),  # f8e4m3fn
    14: np.dtype(np.uint8),  # f8e4m3fnuz
    15: np.dtype(np.uint8),  # f8e5m2
    16: np.dtype(np.uint8),  # f8e5m2fnuz
    17: np.dtype(np.int8),  # i4
    18: np.dtype(np.uint8),  # u4
    19: np.dtype(np.int8),  # i2
    20: np.dtype(np.uint8),  # u2
    21: np.dtype(np.uint8),  # f8e4m3
}
_CODES = {dtype: code for code, dtype in _DTYPES.items() if code <= 12 and code != 2}
_BF16 = 2
_LAST_OF_NUMPY = 12


class TensorInfo(NamedTuple):
    """An input or output: a symbolic dimension is its name or expression."""

    name: str
    dtype: np.dtype
    shape: Tuple[Union[int, str], ...]


def tensor_info(info):
    """A lathe_tensor_info as a TensorInfo."""
    shape = tuple(info.dims[d] if info.dims[d] >= 0 else info.dim_texts[d].decode() for d in range(info.rank))
    return TensorInfo(info.name.decode(), _DTYPES[info.dtype], shape)


def dtype_code(array):
    """The lathe_dtype of an array; None for types that there is none for."""
    return _CODES.get(array.dtype.newbyteorder("=")) if array.dtype.isnative else None


class Symbol(NamedTuple):
    """A symbolic dimension and its inclusive range; max is None for no limit."""

    name: str
    min: int
    max: Optional[int]


def version():
    """Version of liblathe, such as "0.1.0"."""
    return library().lathe_version().decode()


def load(path, verify=False, isa=None, device=None, memory_budget=0, tokenizer=None, tf32=False):
    """Maps the artifact `path` and returns a Module.

    An artifact holds native code: load only files that you trust as you would trust a program.

    verify: check every byte of the file. isa: instruction set, such as "avx2" (default: the best that the machine
    has). device: "cpu", "cuda", "cuda-emulator" or "auto"; default, the artifact's first. memory_budget: limit in bytes, 0 for none. tokenizer: a Tokenizer, or
    the path of its file, for texts in Module.generate(); default, the one that the artifact carries. tf32: products of f32 may round
    their operands to TF32 on GPUs. Raises Error.
    """
    lib = library()
    options = _library.LoadOptions()
    lib.lathe_load_options_init(c.byref(options))
    options.verify = int(verify)
    options.isa = isa.encode() if isa else None
    options.device = device.encode() if device else None
    options.memory_budget = memory_budget
    options.tf32 = int(tf32)
    handle = c.c_void_p()
    check(lib.lathe_module_load(os.fsencode(path), c.byref(options), c.byref(handle)))
    module = Module(handle)
    if tokenizer is not None:
        module.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else Tokenizer(tokenizer)
    return module


class Program:
    """A program of a module: its inputs, outputs and symbols."""

    def __init__(self, handle, number):
        info = _library.ProgramInfo()
        library().lathe_program_info_init(c.byref(info))
        check(library().lathe_module_program_info(handle, number, c.byref(info)))
        self._number = number
        self._codes = []
        self.name = info.name.decode()
        self.inputs = tuple(self._tensors(handle, info.input_count, library().lathe_module_program_input, self._codes))
        self.outputs = tuple(self._tensors(handle, info.output_count, library().lathe_module_program_output, []))
        self.symbols = tuple(self._symbols(handle, info.symbol_count))

    def _tensors(self, handle, count, function, codes):
        for index in range(count):
            info = _library.CTensorInfo()
            check(function(handle, self._number, index, c.byref(info)))
            codes.append(info.dtype)
            yield tensor_info(info)

    def _symbols(self, handle, count):
        for index in range(count):
            info = _library.SymbolInfo()
            check(library().lathe_module_program_symbol(handle, self._number, index, c.byref(info)))
            yield Symbol(info.name.decode(), info.min, None if info.max == 2**63 - 1 else info.max)

    def __repr__(self):
        return f"<lathe.Program '{self.name}', {len(self.inputs)} inputs, {len(self.outputs)} outputs>"


_CARRIED = object()


class Module:
    """A loaded artifact: immutable, usable from any thread. Made by load().

    programs: what sessions can run, by name. The first, "main", is the model; inputs, outputs and symbols are its.
    documents: names of the files that the artifact carries, for document().
    """

    def __init__(self, handle):
        self._handle = handle
        self._finalizer = weakref.finalize(self, library().lathe_module_release, handle)
        self._tokenizer = _CARRIED
        self._generator = None
        self._lock = threading.Lock()
        info = self._info()
        self.device = info.device.decode()
        self.isa = info.isa.decode()
        self.file_bytes = info.file_bytes
        self.constants_bytes = info.constants_bytes
        self.manifest = json.loads(info.manifest)
        count = c.c_size_t()
        check(library().lathe_module_program_count(self._handle, c.byref(count)))
        self.documents = tuple(document["name"] for document in self.manifest.get("documents", ()))
        programs = [Program(handle, number) for number in range(count.value)]
        self.programs = {program.name: program for program in programs}
        self.inputs, self.outputs, self.symbols = programs[0].inputs, programs[0].outputs, programs[0].symbols

    def _info(self):
        info = _library.ModuleInfo()
        library().lathe_module_info_init(c.byref(info))
        check(library().lathe_module_get_info(self._handle, c.byref(info)))
        return info

    @property
    def private_bytes(self):
        """Bytes of weights copied into private memory so far."""
        return self._info().private_bytes

    def document(self, name):
        """The bytes of a file that the artifact carries: "tokenizer" or "generation_config"; None where it does not. Raises
        Error where it is corrupt."""
        index, document = c.c_size_t(), _library.CDocument()
        status = library().lathe_module_find_document(self._handle, name.encode(), c.byref(index))
        if status == Status.NOT_FOUND:
            return None
        check(status)
        check(library().lathe_module_document(self._handle, index, c.byref(document)))
        return c.string_at(document.data, document.size)

    @property
    def tokenizer(self):
        """The Tokenizer for texts in generate(): that of load(), or the one that the artifact carries; None without both."""
        with self._lock:
            if self._tokenizer is _CARRIED:
                content = self.document("tokenizer")
                self._tokenizer = None if content is None else Tokenizer(content)
            return self._tokenizer

    @tokenizer.setter
    def tokenizer(self, tokenizer):
        with self._lock:
            self._tokenizer = tokenizer

    @property
    def generation_config(self):
        """The generation_config.json that the artifact carries, a dictionary; None where it carries none."""
        content = self.document("generation_config")
        if content is None:
            return None
        try:
            config = json.loads(content)
        except ValueError:
            config = None
        if not isinstance(config, dict):
            raise Error("the generation config of the artifact is no JSON object", status=Status.INVALID_ARTIFACT)
        return config

    def session(self, threads=0, memory_budget=0, max_dimension=0, program="main"):
        """Creates a Session of a program. threads: 0 for every processor; the limits: 0 for the defaults. Raises Error."""
        if program not in self.programs:
            names = ", ".join(f"'{name}'" for name in self.programs)
            raise Error(f"the artifact has no program '{program}'; it has: {names}", status=Status.NOT_FOUND)
        options = _library.SessionOptions()
        library().lathe_session_options_init(c.byref(options))
        options.threads = threads
        options.memory_budget = memory_budget
        options.max_dimension = max_dimension
        options.program = program.encode()
        handle = c.c_void_p()
        check(library().lathe_session_create(self._handle, c.byref(options), c.byref(handle)))
        return Session(self, handle, self.programs[program])

    def generator(self, threads=0, memory_budget=0, max_sequence=0):
        """Creates a Generator, where the artifact can generate text. threads: 0 for every processor; memory_budget: bytes
        of the cache and of a step, 0 for no limit; max_sequence: tokens of a sequence, 0 for what the model allows.
        Raises Error."""
        return Generator(self, threads, memory_budget, max_sequence)

    def generate(self, prompt=None, encoder_inputs=None, **parameters):
        """Generator.generate() of a generator with default options, which the module keeps."""
        with self._lock:
            if self._generator is None:
                # Of a weak reference to the module: one that knows the other for good would keep both for ever.
                self._generator = Generator(weakref.proxy(self))
        return self._generator.generate(prompt, encoder_inputs, **parameters)

    def __repr__(self):
        return f"<lathe.Module {self.device}:{self.isa}, {len(self.inputs)} inputs, {len(self.outputs)} outputs>"


class Session:
    """Runs a program of a module. Sessions are independent; calls on one wait for each other. Made by Module.session()."""

    def __init__(self, module, handle, program):
        self.module = module
        self.program = program
        self._handle = handle
        self._finalizer = weakref.finalize(self, library().lathe_session_release, handle)
        self._lock = threading.Lock()
        self._index = {info.name: index for index, info in enumerate(program.inputs)}
        self._bound = None  # the arrays that the runtime borrows

    @property
    def threads(self):
        """Threads that a run uses."""
        value = c.c_int32()
        check(library().lathe_session_threads(self._handle, c.byref(value)))
        return value.value

    @property
    def memory_bytes(self):
        """Bytes that the session holds now and counts against its budget."""
        value = c.c_uint64()
        check(library().lathe_session_memory(self._handle, c.byref(value)))
        return value.value

    def bind(self, inputs):
        """Sets inputs for the calls of run() without inputs, which then convert and copy nothing.

        inputs: as for run(). The runtime borrows the arrays until others take their place; between runs, the values of
        contiguous ones may change.
        """
        with self._lock:
            self._bind_all(inputs)

    def run(self, inputs=None, outputs=None, observe=None):
        """Executes the model once.

        inputs: an array for each input name, of the very type of the input (nothing is converted silently); None for
        those of bind(). outputs: names of the outputs to return, None for all.
        observe: called as observe(value, node, elements) after each kernel that computes an output of a node of the ONNX model: names
        of the output and the node, and its elements in row-major order, an array of one axis, a copy. Of nodes that were fused the last
        one's. It must not use the session; what it raises is raised by run() at its end.
        Returns an array, a copy, for each of these names. Raises Error.
        """
        names = {info.name: index for index, info in enumerate(self.program.outputs)}
        unknown = [name for name in outputs or () if name not in names]
        if unknown:
            raise Error(f"no output is called '{unknown[0]}', only {', '.join(names)}", status=Status.NOT_FOUND)
        with self._lock:
            if inputs is not None:
                self._bind_all(inputs)
            if self._bound is None:
                raise Error("expects inputs, from bind() or given to run()", status=Status.INVALID_ARGUMENT)
            try:
                self._run(observe)
            finally:
                if inputs is not None:
                    self._bound = None
            return {name: self._output(names[name]) for name in (names if outputs is None else outputs)}

    def _run(self, observe):
        if observe is None:
            return check(library().lathe_session_run(self._handle))
        raised = []

        def told(_, __, pointer):
            if raised:
                return
            try:
                result = pointer.contents
                elements = np.empty(result.elements, _DTYPES[result.dtype])
                if elements.size:
                    c.memmove(elements.ctypes.data, result.data, elements.nbytes)
                observe(result.value.decode(), result.node.decode(), elements)
            except BaseException as error:  # ctypes would print it and go on
                raised.append(error)

        callback = _library.ObserveFn(told)
        check(library().lathe_session_set_observer(self._handle, callback, None))
        try:
            check(library().lathe_session_run(self._handle))
        finally:
            check(library().lathe_session_set_observer(self._handle, _library.ObserveFn(), None))
        if raised:
            raise raised[0]

    def _bind_all(self, inputs):
        missing = [name for name in self._index if name not in inputs]
        if missing:
            raise Error(f"missing inputs: {', '.join(missing)}", status=Status.INVALID_ARGUMENT)
        # A run must not find some of the old inputs and some of the new.
        self._bound = None
        self._bound = [self._bind(name, value) for name, value in inputs.items()]

    def _bind(self, name, value):
        index = self._index.get(name)
        if index is None:
            position = c.c_size_t()
            find = library().lathe_module_program_find_input
            check(find(self.module._handle, self.program._number, name.encode(), c.byref(position)))
            index = position.value
        array = np.require(value, requirements=["C", "A"])
        code = dtype_code(array)
        if code is None:
            raise Error(f"input '{name}' has the unsupported type {array.dtype}", status=Status.INVALID_ARGUMENT)
        if code == _CODES[np.dtype(np.uint16)] and self.program._codes[index] == _BF16:
            code = _BF16
        expected = self.program._codes[index]
        if expected > _LAST_OF_NUMPY and array.dtype == _DTYPES[expected]:
            code = expected
        dims = (c.c_int64 * array.ndim)(*array.shape)
        data = array.ctypes.data if array.size else None
        check(library().lathe_session_set_input(self._handle, index, code, array.ndim, dims, data))
        return array

    def _output(self, index):
        output = _library.Output()
        check(library().lathe_session_output(self._handle, index, c.byref(output)))
        array = np.empty([output.dims[d] for d in range(output.rank)], _DTYPES[output.dtype])
        if output.size:
            c.memmove(array.ctypes.data, output.data, output.size)
        return array
