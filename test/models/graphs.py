# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Small graphs for the tests of operators: how they are built, run and compared."""

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import lathe

F32, F64, F16, BF16 = np.float32, np.float64, np.float16, "bfloat16"
I64, I32, I16, I8, U8, BOOL = np.int64, np.int32, np.int16, np.int8, np.uint8, np.bool_

# Error allowed as a share of the largest value of the output.
ALLOWED = {"float32": 2e-4, "float64": 1e-11, "float16": 2e-3}

# Options of the compiler. Each operator a kernel of its own, and all of them generated, is also where -O0 is seen to work.
TARGETS = {"cpu": {"target": "cpu:avx2"}, "reference": {"target": "reference", "optimization": 0}}

# What n, m, k are in turn, for graphs that don't say otherwise.
SIZES = [(2, 3, 7), (1, 1, 1), (3, 7, 2), (7, 33, 3), (33, 1, 2), (0, 3, 2), (2, 0, 3), (3, 2, 0)]


def onnx_type(dtype):
    return TensorProto.BFLOAT16 if dtype == BF16 else helper.np_dtype_to_tensor_dtype(np.dtype(dtype))


def random_values(random, shape, dtype):
    if dtype == BOOL:
        return random.random(shape) < 0.5
    if np.issubdtype(dtype, np.floating):
        return random.normal(0, 2, shape).astype(dtype)
    low = 0 if np.issubdtype(dtype, np.unsignedinteger) else -9
    return random.integers(low, 10, shape).astype(dtype)


class Graph:
    """A model under construction. Values are their names; those that no node reads are the outputs."""

    def __init__(self, opset=22):
        self.opset = opset
        self.inputs, self.initializers, self.nodes, self.outputs = {}, [], [], []
        self.sizes = None

    def input(self, name, dims, dtype=F32, values=None):
        """`values`: a function of (random, shape), a range (low, high), or a list to be repeated."""
        self.inputs[name] = (dims, dtype, values)
        return name

    def constant(self, values, dtype=I64):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(values, dtype), name))
        return name

    def node(self, op, *inputs, count=1, **attributes):
        """Adds a node; arrays among `inputs` are constants. Returns the name, or names, of its results."""
        names = [x if isinstance(x, str) else self.constant(x, getattr(x, "dtype", I64)) for x in inputs]
        outputs = [f"{op.lower()}_{len(self.nodes)}" + (f"_{i}" if count > 1 else "") for i in range(count)]
        self.nodes.append(helper.make_node(op, names, outputs, f"{op}_{len(self.nodes)}", **attributes))
        return outputs[0] if count == 1 else outputs

    def output(self, *names):
        """Makes outputs of values that other nodes read."""
        self.outputs += names

    def model(self):
        read = {name for node in self.nodes for name in node.input}
        outputs = self.outputs + [
            name for node in self.nodes for name in node.output if name not in read and name not in self.outputs
        ]
        graph = helper.make_graph(
            self.nodes,
            "graph",
            [helper.make_tensor_value_info(n, onnx_type(t), d) for n, (d, t, _) in self.inputs.items()],
            [helper.make_empty_tensor_value_info(name) for name in outputs],
            self.initializers,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=10)

    def feeds(self, sizes, seed=0):
        """Inputs, with the symbolic dimensions as `sizes` says: a dictionary, or the values of n, m, k."""
        if not isinstance(sizes, dict):
            sizes = dict(zip("nmk", sizes))
        random = np.random.default_rng(seed)
        feeds = {}
        for name, (dims, dtype, values) in self.inputs.items():
            shape = [d if isinstance(d, int) else int(eval(d, {}, dict(sizes))) for d in dims]
            if callable(values):
                feeds[name] = np.asarray(values(random, shape), dtype).reshape(shape)
            elif isinstance(values, tuple):
                draw = random.uniform if np.issubdtype(dtype, np.floating) else random.integers
                feeds[name] = draw(*values, shape).astype(dtype)
            elif values is not None:
                feeds[name] = np.resize(np.asarray(values, dtype), shape)
            else:
                feeds[name] = random_values(random, shape, dtype)
        return feeds


class ContribGraph(Graph):
    """A model whose nodes are of com.microsoft, unless they say `domain=""`."""

    def node(self, op, *inputs, **attributes):
        return super().node(op, *inputs, **{"domain": "com.microsoft", **attributes})

    def model(self):
        model = super().model()
        model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
        for output in [output for output in model.graph.output if not output.name]:  # left out
            model.graph.output.remove(output)
        return model


class Oracle:
    """ONNX Runtime; where it lacks an operator on a type, the evaluator of the onnx package."""

    def __init__(self, model):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        self.names = [output.name for output in model.graph.output]
        self.fallback = None
        try:
            self.session = onnxruntime.InferenceSession(
                model.SerializeToString(), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # ONNX Runtime has an exception class for each status
            assert "NOT_IMPLEMENTED" in str(error) or "NotImplemented" in type(error).__name__, error
            self.fallback = ReferenceEvaluator(model)

    def __call__(self, feeds):
        """The outputs by name."""
        values = (self.fallback or self.session).run(None, feeds)
        return dict(zip(self.names, map(np.asarray, values)))


def assert_same(output, reference, name, allowed=None):
    assert output.shape == reference.shape, f"{name}: {output.shape}, expected {reference.shape}"
    assert output.dtype == reference.dtype, f"{name}: {output.dtype}, expected {reference.dtype}"
    if not np.issubdtype(reference.dtype, np.floating):
        np.testing.assert_array_equal(output, reference, err_msg=name)
        return
    finite = np.isfinite(reference)
    np.testing.assert_array_equal(output[~finite], reference[~finite], err_msg=name)
    if finite.any():
        errors = np.abs(output[finite].astype(F64) - reference[finite])
        error, worst = errors.max(), errors.argmax()
        allowed = (allowed or ALLOWED[reference.dtype.name]) * np.abs(reference[finite].astype(F64)).max()
        pair = f"{output[finite][worst]} for {reference[finite][worst]}"
        assert error <= allowed, f"{name}: max error {error:.3g}, allowed {allowed:.3g}: {pair}"


def assert_runs_same(graph, session, oracle, sizes):
    """`oracle` has ONNX Runtime's interface."""
    for seed, values in enumerate(sizes):
        feeds = graph.feeds(values, seed)
        for (name, output), expected in zip(session.run(feeds).items(), oracle.run(None, feeds)):
            assert_same(output, expected, f"{name} at {values}")


def check(graph, folder, sizes=None, reference=None, allowed=None, **options):
    """Compiles the graph and compares it with the oracle (on `reference`, a graph with as many outputs, if given) at all
    sizes from the one artifact."""
    model = graph.model()
    onnx.save(model, folder / "graph.onnx")
    path = lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **options)
    session = lathe.load(path).session(threads=2)
    oracle = Oracle(reference.model() if reference else model)
    runs = 0
    for seed, values in enumerate(sizes or graph.sizes or SIZES):
        feeds = graph.feeds(values, seed)
        try:
            expected = oracle(feeds)
        except Exception as error:  # as above: it refuses some empty tensors
            assert 0 in values, error
            continue
        runs += 1
        outputs = session.run(feeds)
        assert list(outputs) == list(expected)
        failures = []
        for name, value in expected.items():
            try:
                assert_same(outputs[name], value, f"{name} at {values}", allowed)
            except AssertionError as error:
                failures.append(str(error))
        assert not failures, "\n".join(failures)
    assert runs
