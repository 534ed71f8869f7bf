# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The Python package."""
import threading

import numpy as np
import pytest
from support import assert_close, make_inputs

import lathe


def test_describes_the_model(artifact):
    module = lathe.load(artifact("bert"))
    assert [info.name for info in module.inputs] == ["input_ids", "attention_mask", "token_type_ids"]
    assert module.inputs[0].dtype == np.int64
    assert module.inputs[0].shape == ("batch", "sequence")
    assert [info.name for info in module.outputs] == ["output_0", "output_1"]
    assert module.outputs[0].shape[2] == 64
    assert {symbol.name for symbol in module.symbols} >= {"batch", "sequence"}
    assert module.file_bytes == artifact("bert").stat().st_size
    assert lathe.version()


def test_compile_and_run(onnx_path, oracle, tmp_path):
    path = lathe.compile(onnx_path("bert"), tmp_path / "bert.lathe", target="cpu", dim={"batch": (1, 4)})
    inputs = make_inputs("bert", 4, 7)
    assert_close(lathe.load(path, verify=True).session().run(inputs), oracle("bert", inputs))
    with pytest.raises(lathe.Error) as caught:
        lathe.load(path).session().run(make_inputs("bert", 5, 7))
    assert caught.value.status == lathe.Status.INVALID_ARGUMENT


def test_observes_values(artifact):
    session = lathe.load(artifact("bert")).session()
    inputs, seen = make_inputs("bert", 2, 5), {}
    expected = session.run(inputs)
    result = session.run(inputs, observe=lambda value, node, elements: seen.update({value: (node, elements)}))
    np.testing.assert_array_equal(result["output_0"], expected["output_0"])
    assert len(seen) > 10 and all(node for node, _ in seen.values())
    node, elements = seen["output_0"]
    np.testing.assert_array_equal(elements.reshape(expected["output_0"].shape), expected["output_0"])
    seen.clear()
    session.run(inputs)
    assert not seen
    with pytest.raises(ZeroDivisionError):
        session.run(inputs, observe=lambda *_: 1 // 0)
    session.run(inputs)


def test_compile_errors(tmp_path):
    (tmp_path / "text.onnx").write_text("not a model\n" * 20)
    with pytest.raises(lathe.Error) as caught:
        lathe.compile(tmp_path / "text.onnx", tmp_path / "out.lathe")
    assert caught.value.exit_code == 3 and "text.onnx" in str(caught.value)
    assert not (tmp_path / "out.lathe").exists()


def test_load_errors(tmp_path):
    with pytest.raises(lathe.Error) as caught:
        lathe.load(tmp_path / "missing.lathe")
    assert caught.value.status == lathe.Status.NOT_FOUND
    (tmp_path / "text.lathe").write_text("not an artifact\n" * 20)
    with pytest.raises(lathe.Error) as caught:
        lathe.load(tmp_path / "text.lathe")
    assert caught.value.status == lathe.Status.INVALID_ARTIFACT


def test_programs(artifact):
    module = lathe.load(artifact("bert"))
    assert list(module.programs) == ["main"]
    assert module.programs["main"].inputs == module.inputs
    assert module.session(program="main").program is module.programs["main"]
    with pytest.raises(lathe.Error, match="no program 'step'; it has: 'main'") as caught:
        module.session(program="step")
    assert caught.value.status == lathe.Status.NOT_FOUND


def test_bound_inputs(artifact, oracle):
    session = lathe.load(artifact("bert")).session()
    with pytest.raises(lathe.Error, match="expects inputs"):
        session.run()
    first, second = make_inputs("bert", 2, 7), make_inputs("bert", 1, 5)
    session.bind(first)
    assert session.run(outputs=()) == {}
    assert_close(session.run(), oracle("bert", first))
    first["input_ids"][:] = first["input_ids"][:, ::-1]
    assert_close(session.run(), oracle("bert", first))
    only = session.run(outputs=["output_1"])
    assert_close(only, {"output_1": oracle("bert", first)["output_1"]})
    assert_close(session.run(second), oracle("bert", second))
    with pytest.raises(lathe.Error, match="expects inputs"):
        session.run()
    with pytest.raises(lathe.Error, match="output_2"):
        session.run(second, outputs=["output_2"])
    with pytest.raises(lathe.Error, match="attention_mask"):
        session.bind({"input_ids": first["input_ids"]})


@pytest.mark.parametrize(
    "change, word",
    [
        (lambda inputs: inputs.pop("attention_mask"), "attention_mask"),
        (lambda inputs: inputs.update(other=np.zeros(1, np.float32)), "other"),
        (lambda inputs: inputs.update(input_ids=inputs["input_ids"].astype(np.float32)), "input_ids"),
        (lambda inputs: inputs.update(input_ids=inputs["input_ids"][0]), "input_ids"),
        (lambda inputs: inputs.update(attention_mask=inputs["attention_mask"][:, 1:]), "attention_mask"),
        (lambda inputs: inputs.update(input_ids=inputs["input_ids"].astype(object)), "input_ids"),
    ],
    ids=["missing", "unknown", "type", "rank", "size", "object"],
)
def test_input_errors(change, word, artifact):
    session = lathe.load(artifact("bert")).session()
    inputs = make_inputs("bert", 2, 7)
    change(inputs)
    with pytest.raises(lathe.Error, match=word) as caught:
        session.run(inputs)
    assert caught.value.status in (lathe.Status.INVALID_ARGUMENT, lathe.Status.NOT_FOUND)
    session.run(make_inputs("bert", 2, 7))  # the session is still of use


def test_arrays_need_not_be_contiguous(artifact, oracle):
    inputs = make_inputs("bert", 4, 8)
    inputs = {name: np.asfortranarray(value) for name, value in inputs.items()}
    assert_close(lathe.load(artifact("bert")).session().run(inputs), oracle("bert", inputs))


def test_outputs_outlive_the_session(artifact, oracle):
    inputs = make_inputs("bert", 2, 7)
    session = lathe.load(artifact("bert")).session()
    outputs = session.run(inputs)
    session.run(make_inputs("bert", 5, 33))
    del session
    assert_close(outputs, oracle("bert", inputs))


def test_sessions_in_parallel(artifact, oracle):
    module = lathe.load(artifact("bert"))
    cases = [make_inputs("bert", 1 + index, 7 + index) for index in range(4)]
    references = [oracle("bert", inputs) for inputs in cases]
    results = [None] * len(cases)

    def work(index):
        session = module.session(threads=1)
        for _ in range(5):
            results[index] = session.run(cases[index])

    workers = [threading.Thread(target=work, args=[index]) for index in range(len(cases))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for outputs, reference in zip(results, references):
        assert_close(outputs, reference)


def test_session_options(artifact):
    module = lathe.load(artifact("bert"))
    assert module.session(threads=1).threads == 1
    session = module.session(threads=1, max_dimension=16)
    with pytest.raises(lathe.Error):
        session.run(make_inputs("bert", 1, 17))
    with pytest.raises(lathe.Error) as caught:
        module.session(threads=1, memory_budget=1000).run(make_inputs("bert", 5, 128))
    assert caught.value.status == lathe.Status.OVER_BUDGET
