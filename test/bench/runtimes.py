# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The process of one runtime: loads a model, then runs it as often as a line of its standard input says.

Each line that it reads is a JSON object, each line that it writes too:
    {"runtime", "model", "precision", "threads", "inputs": [[name, dtype, shape]], "outputs": [names], "past"}
                       -> {"load_ms", "first_run_ms", "load_rss_bytes", "version", "notes"}
    {"run": N}         -> {"times_ms": [N numbers]}
    {"save": PATH}     -> {"outputs": [names]}        writes PATH, an .npz
    {"memory": N}      -> {"run_rss_bytes"}           the most that is resident during N runs
Inputs are made before, and bound once, so that a run is only the run. With one token and a past a run of Lathe is a step of a generator,
which begins each burst with the past.
"""
import ctypes
import json
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

import workloads

_PR_SET_PDEATHSIG = 1


def resident_peak():
    """Most bytes that were resident since the program started or forget_peak()."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def forget_peak():
    Path("/proc/self/clear_refs").write_text("5")


class Lathe:
    def __init__(self, setup, inputs):
        import lathe

        self.version, self.notes = lathe.version(), []
        start = time.perf_counter()
        module = lathe.load(setup["model"])
        self._session = module.session(threads=setup["threads"])
        self.load_ms = (time.perf_counter() - start) * 1e3
        self._session.bind(inputs)
        self._generator = None
        tokens = inputs.get("input_ids")
        if setup["past"] and tokens.shape[1] == 1 and "step" in module.programs:
            # A token of text that is generated: its past is in the generator's cache, and stays there.
            self._generator, self._token = module.generator(threads=setup["threads"]), tokens
            self._past = np.tile(tokens, (1, setup["past"]))

    def begin_burst(self):
        if self._generator:
            self._generator.begin(self._token.shape[0])
            self._generator.append(self._past)

    def run(self):
        if self._generator:
            self._generator.append(self._token)
        else:
            self._session.run(outputs=())

    def outputs(self):
        return self._session.run()


class OnnxRuntime:
    """f32: it has no other precision of its own."""

    def __init__(self, setup, inputs):
        import onnxruntime

        self.version, self.notes = onnxruntime.__version__, []
        if setup["precision"] == "bf16":
            self.notes.append(f"ONNX Runtime has no {setup['precision']} of its own here: it computes in f32")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = setup["threads"]
        options.inter_op_num_threads = 1
        start = time.perf_counter()
        self._session = onnxruntime.InferenceSession(setup["model"], options, providers=["CPUExecutionProvider"])
        self.load_ms = (time.perf_counter() - start) * 1e3
        self._binding, self._names = self._session.io_binding(), setup["outputs"]
        self._inputs = {name: onnxruntime.OrtValue.ortvalue_from_numpy(array) for name, array in inputs.items()}
        for name, value in self._inputs.items():
            self._binding.bind_ortvalue_input(name, value)
        for name in self._names:
            self._binding.bind_output(name)
        # Outputs of the first run stay: the runs that are measured write into them.
        self.run()
        self._results = self._binding.get_outputs()
        self._binding.clear_binding_outputs()
        for name, value in zip(self._names, self._results):
            self._binding.bind_ortvalue_output(name, value)

    def run(self):
        self._session.run_with_iobinding(self._binding)

    def outputs(self):
        self.run()
        return {name: value.numpy() for name, value in zip(self._names, self._results)}


class OpenVino:
    def __init__(self, setup, inputs):
        import openvino

        self.version, self.notes = openvino.get_version().split("-")[0], []
        core, precision = openvino.Core(), setup["precision"]
        if precision.startswith("int"):
            precision = "f32"  # of what is not quantized
        # Asked for bf16, it would imitate it there, at a hundredth of the speed.
        if precision == "bf16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            precision = "f32"
            self.notes.append("this processor has no arithmetic of bf16: OpenVINO is asked for f32 where Lathe is compiled for bf16")
        options = {
            "INFERENCE_NUM_THREADS": setup["threads"],
            "NUM_STREAMS": 1,
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_PRECISION_HINT": precision,
        }
        start = time.perf_counter()
        self._compiled = core.compile_model(core.read_model(setup["model"]), "CPU", options)
        self._request = self._compiled.create_infer_request()
        self.load_ms = (time.perf_counter() - start) * 1e3
        self._inputs = {name: openvino.Tensor(array, shared_memory=True) for name, array in inputs.items()}
        for name, tensor in self._inputs.items():
            self._request.set_tensor(name, tensor)
        self._outputs = {name: self._compiled.output(name) for name in setup["outputs"]}

    def run(self):
        self._request.infer()

    def outputs(self):
        self.run()
        return {name: np.array(self._request.get_tensor(port).data) for name, port in self._outputs.items()}


RUNTIMES = {"lathe": Lathe, "onnxruntime": OnnxRuntime, "openvino": OpenVino}
PEERS = ("onnxruntime", "openvino")


def timed(run):
    start = time.perf_counter()
    run()
    return (time.perf_counter() - start) * 1e3


def serve():
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def answer(**values):
        answers.write(json.dumps(values) + "\n")
        answers.flush()

    # A process that is stopped would outlive a parent that is killed.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    setup = json.loads(sys.stdin.readline())
    runtime = RUNTIMES[setup["runtime"]](setup, workloads.make_inputs(setup["inputs"], setup["past"]))
    begin_burst = getattr(runtime, "begin_burst", lambda: None)
    begin_burst()
    first_run_ms = timed(runtime.run)
    answer(load_ms=runtime.load_ms, first_run_ms=first_run_ms, load_rss_bytes=resident_peak(), version=runtime.version,
           notes=runtime.notes)
    for line in sys.stdin:
        request = json.loads(line)
        if "run" in request:
            begin_burst()
            answer(times_ms=[timed(runtime.run) for _ in range(request["run"])])
        elif "save" in request:
            outputs = runtime.outputs()
            np.savez(request["save"], **outputs)
            answer(outputs=list(outputs))
        else:
            begin_burst()
            forget_peak()
            for _ in range(request["memory"]):
                runtime.run()
            answer(run_rss_bytes=resident_peak())


if __name__ == "__main__":
    serve()
