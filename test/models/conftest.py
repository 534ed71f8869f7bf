# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The oracle, loaded models, and what operators are compiled for."""
import onnxruntime
import pytest
from graphs import TARGETS
from support import DEVICE


@pytest.fixture(params=TARGETS)
def target(request):
    """Options of lathe.compile: each backend."""
    return TARGETS[request.param]


@pytest.fixture(scope="session")
def oracle(onnx_path):
    """oracle(name, inputs): the outputs of ONNX Runtime by name."""
    sessions = {}

    def run(name, inputs):
        if name not in sessions:
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4  # Expected failures, such as empty inputs, are told by the exception.
            sessions[name] = onnxruntime.InferenceSession(
                str(onnx_path(name)), options, providers=["CPUExecutionProvider"]
            )
        session = sessions[name]
        return dict(zip([output.name for output in session.get_outputs()], session.run(None, inputs)))

    return run


@pytest.fixture(scope="session")
def session(artifact):
    """session(name): a session over the model compiled with default options, the same for every shape."""
    import lathe

    sessions = {}

    def get(name):
        if name not in sessions:
            sessions[name] = lathe.load(artifact(name), verify=True).session(threads=2)
        return sessions[name]

    return get


@pytest.fixture(scope="session")
def emulated(artifact):
    """emulated(name): a session on the emulator over the model compiled for CUDA."""
    import lathe

    sessions = {}

    def get(name):
        if name not in sessions:
            module = lathe.load(artifact(name, "--target", "cuda:sm_80"), device=DEVICE, verify=True)
            assert module.device == DEVICE
            sessions[name] = module.session(threads=2)
        return sessions[name]

    return get
