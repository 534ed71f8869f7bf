# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Attentions and recurrent networks of com.microsoft: equal to ONNX Runtime, or, where it has no kernel, to what an
operator stands for."""

import numpy as np
import onnx
import onnxruntime
import pytest
from graphs import F16, F32, I8, I32, I64, U8, ContribGraph, assert_same, check

import lathe


def compiled(g, folder, target):
    onnx.save(g.model(), folder / "graph.onnx")
    return lathe.load(lathe.compile(folder / "graph.onnx", folder / "graph.lathe", **target)).session()


def compare(g, folder, target, function, sizes):
    """With `function` of the inputs, which gives the outputs."""
    session = compiled(g, folder, target)
    for seed, size in enumerate(sizes):
        feeds = g.feeds(size, seed)
        outputs = session.run(feeds)
        for (name, output), expected in zip(outputs.items(), function(**feeds)):
            assert_same(output, expected.astype(output.dtype), f"{name} at {size}", 1e-3)


# Linear attention

RULES = ["linear", "gated", "delta", "gated_delta"]


def tokens(g, queries, heads, keys, values, rule, per_key=False, one_rate=False, dtype=F32, length="m"):
    """Inputs of a batch of n rows of m tokens, and what the rule takes besides."""
    q, k, v = (
        g.input(name, ["n", length, size], dtype, (-0.6, 0.6))
        for name, size in (("q", queries * keys), ("k", heads * keys), ("v", heads * values))
    )
    decay = g.input("decay", ["n", length, heads * (keys if per_key else 1)], dtype, (-1.0, 0.0)) if "gated" in rule else ""
    beta = g.input("beta", ["n", length, 1 if one_rate else heads], dtype, (0.0, 1.0)) if "delta" in rule else ""
    return q, k, v, decay, beta


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("queries, heads", [(2, 2), (4, 2), (2, 4)])
def test_linear_attention(rule, queries, heads, target, tmp_path):
    g = ContribGraph(17)
    q, k, v, decay, beta = tokens(g, queries, heads, 8, 6, rule, per_key=queries == heads)
    past = g.input("past", ["n", heads, 8, 6])
    options = {"q_num_heads": queries, "kv_num_heads": heads, "update_rule": rule}
    g.node("LinearAttention", q, k, v, past, decay, beta, count=2, **options)
    g.node("LinearAttention", q, k, v, "", decay, beta, count=2, scale=0.3, **options)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 17), (2, 33)], **target)


def test_linear_attention_of_one_token(target, tmp_path):
    g = ContribGraph(17)
    q, k, v, decay, beta = tokens(g, 4, 2, 8, 8, "gated_delta", one_rate=True, length=1)
    g.node("LinearAttention", q, k, v, g.input("past", ["n", 2, 8, 8]), decay, beta, q_num_heads=4, kv_num_heads=2, count=2)
    check(g, tmp_path, [(1,), (3,), (8,)], **target)


def test_linear_attention_in_f16(target, tmp_path):
    g = ContribGraph(17)
    q, k, v, decay, beta = tokens(g, 2, 2, 8, 8, "gated_delta", dtype=F16)
    g.node("LinearAttention", q, k, v, g.input("past", ["n", 2, 8, 8], F16), decay, beta, q_num_heads=2, kv_num_heads=2, count=2)
    check(g, tmp_path, [(2, 3), (1, 9)], allowed=4e-3, **target)


@pytest.mark.parametrize("window", [1, 3])
def test_states_of_several_tokens(window, target, tmp_path):
    g = ContribGraph(17)
    q, k, v, decay, beta = tokens(g, 2, 2, 4, 6, "gated_delta")
    past = g.input("past", [window, "n", 2, 4, 6])
    g.node("LinearAttention", q, k, v, past, decay, beta, q_num_heads=2, kv_num_heads=2, state_window=window, count=2)

    def function(q, k, v, past, decay, beta):
        batch, length, _ = q.shape
        q, k, v = (x.astype(np.float64).reshape(batch, length, 2, -1) for x in (q, k, v))
        state, states, output = past[-1], [np.zeros(past.shape[1:])] * window, []
        for t in range(length):
            state = state * np.exp(decay[:, t])[:, :, None, None]
            value = beta[:, t, :, None] * (v[:, t] - np.einsum("bhk,bhkv->bhv", k[:, t], state))
            state = state + k[:, t, :, :, None] * value[:, :, None]
            states.append(state)
            output.append(np.einsum("bhk,bhkv->bhv", q[:, t], state).reshape(batch, -1) / 2)
        return np.stack(output, 1), np.stack(states[-window:])

    compare(g, tmp_path, target, function, [(2, 1), (1, 2), (3, 7)])


def test_linear_attention_gates(target, tmp_path):
    g = ContribGraph(17)
    a, b = g.input("a", ["n", "m", 4], F32, (-30.0, 30.0)), g.input("b", ["n", "m", 4])
    bias, scale = g.input("bias", [4]), g.input("scale", [4])
    g.node("LinearAttentionGate", a, bias, scale, b, count=2)
    g.node("LinearAttentionGate", a, bias, scale)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 33)], **target)


# Attention to blocks


def blocks_of(masks):
    """The rows and columns of block masks, as the operator has them."""
    columns = [np.nonzero(mask)[1] for mask in masks]
    longest = max(map(len, columns))
    rows = [np.concatenate([[0], np.cumsum(mask.sum(1))]) for mask in masks]
    return np.array(rows, I32), np.array([np.pad(c, (0, longest - len(c)), constant_values=-1) for c in columns], I32)


def sparse_attention(q, k, v, past_key, past_value, totals, masks, block, heads):
    """Of one row after another, in f64; `totals` are how many keys each has in the end."""
    batch, sequence, _ = q.shape
    kv_heads, size = past_key.shape[1], past_key.shape[3]
    q, k, v = (x.reshape(batch, sequence, -1, size).transpose(0, 2, 1, 3) for x in (q, k, v))
    keys, values, output = past_key.copy(), past_value.copy(), np.zeros(q.shape)
    for b, total in enumerate(totals):
        past = total - sequence
        keys[b, :, past:total], values[b, :, past:total] = k[b], v[b]
        keys[b, :, total:], values[b, :, total:] = 0, 0
        for h in range(heads):
            own = h // (heads // kv_heads)
            for i in range(sequence):
                seen = [t for t in range(past + i + 1) if masks[h % len(masks)][(past + i) // block][t // block]]
                scores = q[b, h, i].astype(np.float64) @ keys[b, own, seen].T / np.sqrt(size)
                weights = np.exp(scores - scores.max())
                output[b, h, i] = weights / weights.sum() @ values[b, own, seen]
    return output.transpose(0, 2, 1, 3).reshape(batch, sequence, -1), keys, values


@pytest.mark.parametrize("layouts", [1, 2])
def test_sparse_attention(layouts, target, tmp_path):
    heads, kv_heads, size, block = 4, 2, 8, 16
    random = np.random.default_rng(layouts)
    masks = [np.tril(random.random((4, 4)) < 0.5) | np.eye(4, dtype=bool) for _ in range(layouts)]
    rows, columns = blocks_of(masks)
    g = ContribGraph(17)
    q = g.input("q", ["n", "m", heads * size])
    k, v = (g.input(name, ["n", "m", kv_heads * size]) for name in "kv")
    past = [g.input(name, ["n", kv_heads, 64, size]) for name in ("past_key", "past_value")]
    total, lengths = g.input("total", [1], I32), g.input("lengths", ["n"], I32)
    options = {"num_heads": heads, "kv_num_heads": kv_heads, "sparse_block_size": block}
    g.node("SparseAttention", q, k, v, *past, rows, columns, total, lengths, count=3, **options)
    session = compiled(g, tmp_path, target)
    for sequence, totals in [(20, [20, 20]), (64, [64]), (1, [40, 33]), (1, [64, 1, 17]), (3, [40, 21]), (1, [1])]:
        feeds = g.feeds((len(totals), sequence))
        feeds |= {"total": np.array([max(totals)], I32), "lengths": np.array(totals, I32)}
        expected = sparse_attention(*(feeds[n] for n in ("q", "k", "v", "past_key", "past_value")), totals, masks, block, heads)
        for output, value in zip(session.run(feeds).values(), expected):
            assert_same(output, value.astype(F32), f"{sequence}, {totals}")


# Attention without padding


def attention(q, k, v, heads, bias=0):
    """[batch, sequence, size] each, in f64."""
    split = lambda x: x.astype(np.float64).reshape(*x.shape[:2], heads, -1).transpose(0, 2, 1, 3)  # noqa: E731
    q, k, v = map(split, (q, k, v))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1]) + bias
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    output = weights / weights.sum(-1, keepdims=True) @ v
    return output.transpose(0, 2, 1, 3).reshape(output.shape[0], output.shape[2], -1)


def packed(x, lengths):
    return np.concatenate([row[:length] for row, length in zip(x, lengths)])


def offsets_of(lengths, sequence):
    places = np.arange(len(lengths) * sequence).reshape(len(lengths), sequence)
    is_token = np.arange(sequence) < np.array(lengths)[:, None]
    offsets = np.concatenate([places[is_token], places[~is_token]]).reshape(places.shape)
    return offsets.astype(I32), np.concatenate([[0], np.cumsum(lengths)]).astype(I32)


LENGTHS = [([1, 2, 4], 4), ([3], 3), ([1, 1], 5), ([7, 33, 2], 33)]


def test_paddings(target, tmp_path):
    g = ContribGraph(17)
    x = g.input("x", ["n", "m", 6])
    tokens, offsets, sums, longest = g.node("RemovePadding", x, g.input("lengths", ["n"], I32), count=4)
    g.node("RestorePadding", tokens, offsets)
    g.output(tokens, offsets)
    session = compiled(g, tmp_path, target)
    for lengths, sequence in LENGTHS:
        feeds = g.feeds((len(lengths), sequence)) | {"lengths": np.array(lengths, I32)}
        restored = np.where((np.arange(sequence) < np.array(lengths)[:, None])[:, :, None], feeds["x"], 0)
        expected = {tokens: packed(feeds["x"], lengths), longest: np.array([max(lengths)], I32), "restorepadding_1": restored}
        expected[offsets], expected[sums] = offsets_of(lengths, sequence)
        outputs = session.run(feeds)
        assert outputs.keys() == expected.keys()
        for name, output in outputs.items():
            assert_same(output, expected[name], name)


@pytest.mark.parametrize("biased", [False, True])
def test_packed_attention(biased, target, tmp_path):
    g = ContribGraph(17)
    x, w, b = g.input("x", ["t", 8]), g.input("w", [8, 24]), g.input("b", [24])
    offsets, sums = g.input("offsets", ["n", "m"], I32), g.input("sums", ["n + 1"], I32)
    bias = [g.input("bias", [1, 2, "m", "m"])] if biased else []
    g.node("PackedAttention", x, w, b, offsets, sums, *bias, num_heads=2)
    session = compiled(g, tmp_path, target)
    for lengths, sequence in LENGTHS:
        feeds = g.feeds({"n": len(lengths), "m": sequence, "t": sum(lengths)})
        feeds["offsets"], feeds["sums"] = offsets_of(lengths, sequence)
        expected, start = [], 0
        for length in lengths:
            q, k, v = np.split((feeds["x"][start : start + length] @ feeds["w"] + feeds["b"])[None], 3, -1)
            expected.append(attention(q, k, v, 2, feeds["bias"][:, :, :length, :length] if biased else 0)[0])
            start += length
        assert_same(*session.run(feeds).values(), np.concatenate(expected).astype(F32), str(lengths))


@pytest.mark.parametrize("together", [False, True])
def test_packed_heads(together, target, tmp_path):
    g = ContribGraph(17)
    inputs = [g.input("qkv", ["t", 2, 3, 4]), "", ""] if together else [g.input(name, ["t", 8]) for name in "qkv"]
    offsets, sums = g.input("offsets", ["n", "m"], I32), g.input("sums", ["n + 1"], I32)
    g.node("PackedMultiHeadAttention", *inputs, g.input("b", [24]), offsets, sums, num_heads=2)
    session = compiled(g, tmp_path, target)
    for lengths, sequence in LENGTHS:
        feeds = g.feeds({"n": len(lengths), "m": sequence, "t": sum(lengths)})
        feeds["offsets"], feeds["sums"] = offsets_of(lengths, sequence)
        parts = [feeds["qkv"][:, :, i].reshape(-1, 8) for i in range(3)] if together else [feeds[name] for name in "qkv"]
        parts = [part + b for part, b in zip(parts, np.split(feeds["b"], 3))]
        expected, start = [], 0
        for length in lengths:
            expected.append(attention(*(part[None, start : start + length] for part in parts), 2)[0])
            start += length
        assert_same(*session.run(feeds).values(), np.concatenate(expected).astype(F32), str(lengths))


def test_longformer_attention(target, tmp_path):
    g = ContribGraph(17)
    heads, window = 2, 2
    names = [g.input(name, dims) for name, dims in (("x", ["n", "m", 8]), ("w", [8, 24]), ("b", [24]))]
    mask = g.input("mask", ["n", "m"], F32, lambda random, shape: np.where(np.arange(shape[1]) < shape[1] - 1, 0, -1e4) * np.ones(shape))
    more = [g.input("gw", [8, 24]), g.input("gb", [24])]
    flags = g.input("flags", ["n", "m"], I32, lambda random, shape: random.random(shape) < 0.3)
    g.node("LongformerAttention", *names, mask, *more, flags, num_heads=heads, window=window)

    def function(x, w, b, mask, gw, gb, flags):
        place = np.arange(x.shape[1])
        seen = (np.abs(place[:, None] - place) <= window)[None] | (flags[:, None] != 0)
        bias = mask[:, None, None].astype(np.float64)
        local = attention(*np.split(x @ w + b, 3, -1), heads, np.where(seen[:, None], bias, -1e30))
        everywhere = attention(*np.split(x @ gw + gb, 3, -1), heads, bias)
        return [np.where(flags[:, :, None] != 0, everywhere, local)]

    compare(g, tmp_path, target, function, [(2, 8), (1, 16), (3, 4)])


@pytest.mark.parametrize("size", [1, 2, 3])
def test_blocked_repetitions(size, target, tmp_path):
    g = ContribGraph(17)
    ids = g.input("ids", ["n", "m"], I64, (0, 4))
    g.node("NGramRepeatBlock", ids, g.input("scores", ["n", 5]), ngram_size=size)
    check(g, tmp_path, [(2, 7), (1, 3), (3, 33), (4, 12)], **target)
    session = lathe.load(tmp_path / "graph.lathe").session()
    feeds = g.feeds((2, size - 1))  # of which ONNX Runtime leaves the scores undefined
    np.testing.assert_array_equal(*session.run(feeds).values(), feeds["scores"])


# Caches of a fixed capacity


@pytest.mark.parametrize("op", ["Attention", "MultiHeadAttention", "DecoderMaskedMultiHeadAttention"])
def test_caches_of_a_capacity(op, target, tmp_path):
    # The same as with a past that is as long as it is full, but for the present.
    heads, size, capacity = 2, 4, 8
    wide = heads * size
    graphs = []
    for shared in (True, False):
        g = ContribGraph(17)
        length = g.input("length", [1], I32) if shared else ""
        share = {"past_present_share_buffer": 1} if shared and op != "MultiHeadAttention" else {}
        if op == "Attention":
            past = g.input("past", [2, "n", heads, capacity if shared else "p", size])
            inputs = [g.input("x", ["n", "m", wide]), g.input("w", [wide, 3 * wide]), g.input("b", [3 * wide]), "", past, "", length]
            g.node(op, *inputs, num_heads=heads, unidirectional=1, count=2, **share)
        else:
            qkv = [g.input(name, ["n", "m", wide]) for name in "qkv"]
            past = [g.input(name, ["n", heads, capacity if shared else "p", size]) for name in ("past_key", "past_value")]
            causal = {} if shared and op != "MultiHeadAttention" else {"unidirectional": 1}
            order = ["", "", *past, length] if op != "MultiHeadAttention" and shared else ["", "", "", *past, length]
            g.node(op if shared else "MultiHeadAttention", *qkv, *order, num_heads=heads, count=3, **share, **causal)
        graphs.append(g)
    session = compiled(graphs[0], tmp_path, target)
    oracle = onnxruntime.InferenceSession(graphs[1].model().SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, tokens, length in [(2, 1, 3), (1, 1, 0), (3, 1, 7), (2, 3, 4), (1, 8, 0)]:
        if tokens > 1 and op.startswith("Decoder"):
            continue
        feeds = graphs[0].feeds((batch, tokens)) | {"length": np.array([length], I32)}
        plain = {name: x[..., :length, :] if name.startswith("past") else x for name, x in feeds.items() if name != "length"}
        expected = oracle.run(None, plain)
        outputs = list(session.run(feeds).values())
        assert_same(outputs[0], expected[0], f"{tokens} behind {length}")
        pasts = [feeds[name] for name in feeds if name.startswith("past")]
        for output, past, present in zip(outputs[1:], pasts, expected[1:]):
            rest = past[..., length + tokens :, :]
            assert_same(output, np.concatenate([present, rest], -2), f"present of {tokens} behind {length}")
    with pytest.raises(lathe.Error, match="expects a cache with room for all tokens"):
        session.run(graphs[0].feeds((1, 1)) | {"length": np.array([capacity], I32)})


# Streams beside each other


def test_hyper_connections(target, tmp_path):
    g = ContribGraph(17)
    grouped, flat = g.input("grouped", ["n", "m", 3, 4]), g.input("flat", ["n", "m", 12])
    gates = [g.input(f"gates{i}", ["n", "m", *shape]) for i, shape in enumerate(([3], [3, 1], [3, 4], [12]))]
    block, mix = g.input("block", ["n", "m", 4]), g.input("mix", ["n", "m", 3, 3])
    for gate in gates[:3]:
        g.node("HyperConnectionPreMix", grouped, gate, reduction_scale=0.5)
        g.node("HyperConnectionPostMix", grouped, block, gate)
        g.node("HyperConnectionPostMix", grouped, block, gate, mix)
        g.node("HyperConnectionPostMix", flat, block, gate, mix, num_branches=3)
    g.node("HyperConnectionPreMix", flat, gates[0], num_branches=3)
    g.node("HyperConnectionPreMix", flat, gates[3], num_branches=3)
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7)], **target)


def test_engram_gates(target, tmp_path):
    g = ContribGraph(17)
    key, query, value = g.input("key", ["n", "m", 3, 8]), g.input("query", ["n", "m", 3, 8]), g.input("value", ["n", "m", 8])
    scales = [g.input(name, [3, 8]) for name in ("key_scale", "query_scale", "value_scale")]
    g.node("EngramGate", key, query, value, *scales, count=2, epsilon=1e-3)
    g.node("EngramGate", key, query, value, *scales[:2])
    check(g, tmp_path, [(2, 3), (1, 1), (3, 7)], **target)


# Recurrent networks of 8 bits


@pytest.mark.parametrize("dtype", [U8, I8], ids=["u8", "i8"])
@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_quantized_lstm(dtype, per_column, direction, target, tmp_path):
    hidden, size, count = 8, 6, 2 if direction == "bidirectional" else 1
    random = np.random.default_rng(0)
    g = ContribGraph(17)
    x = g.input("x", ["m", "n", size])
    info = np.iinfo(dtype)
    weights = [random.integers(info.min, info.max, (count, rows, 4 * hidden)).astype(dtype) for rows in (size, hidden)]
    shape = [count, 4 * hidden] if per_column else [count]
    scales = [random.uniform(0.002, 0.006, shape).astype(F32) for _ in range(2)]
    zeros = [np.full(shape, 0 if dtype == I8 else 128, dtype) for _ in range(2)]
    b, p = (random.normal(0, 0.3, (count, k * hidden)).astype(F32) for k in (8, 3))
    states = [g.input(name, [count, "n", hidden]) for name in ("h", "c")]
    parameters = [scales[0], zeros[0], scales[1], zeros[1]]
    options = {"hidden_size": hidden, "direction": direction, "count": 3}
    g.node("DynamicQuantizeLSTM", x, *weights, b, "", *states, p, *parameters, **options)
    g.node("DynamicQuantizeLSTM", x, *weights, "", "", "", "", "", *parameters, **options)
    # Rounding to 8 bits turns on the last digit of what is rounded.
    check(g, tmp_path, [(1, 3), (2, 7), (3, 1)], allowed=2e-2, **target)


@pytest.mark.parametrize("op, attributes, inputs, reason", [
    ("LinearAttention", {"q_num_heads": 3, "kv_num_heads": 2}, [["n", "m", 6]] * 3, "of which one divides the other, got 3 and 2"),
    ("LinearAttention", {"q_num_heads": 2, "kv_num_heads": 2}, [["n", "m", 6]] * 3, "expects decay with the update rule"),
    ("LinearAttention", {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "other"}, [["n", "m", 6]] * 3, "update_rule linear, gated"),
    ("LinearAttention", {"q_num_heads": 2, "kv_num_heads": 2, "state_window": 9}, [["n", "m", 6]] * 3, "state_window from 0 to 8"),
    ("PackedAttention", {"num_heads": 2}, [["t", 8], [8, 24], [24], ["n", "m"], ["k"]], "offsets and lengths of integers"),
    ("PackedMultiHeadAttention", {"num_heads": 0}, [["t", 8]] * 6, "'num_heads' of at least 1"),
    ("NGramRepeatBlock", {"ngram_size": 1 << 40}, [["n", "m"], ["n", 8]], "up to 64 is supported"),
    ("NGramRepeatBlock", {"ngram_size": 0}, [["n", "m"], ["n", 8]], "ngram_size of at least 1"),
    ("RestorePadding", {}, [["t", 8], ["n", "m"]], "offsets and lengths of integers"),
    ("LongformerAttention", {"num_heads": 2, "window": 0}, [["n", "m", 8], [8, 24], [24], ["n", "m"], [8, 24], [24], ["n", "m"]], "a window of at least 1"),
    ("SparseAttention", {"num_heads": 2, "kv_num_heads": 2, "sparse_block_size": 16}, [["n", "m", 8]] * 9, "key_total_sequence_lengths of integers"),
    ("LSTM", {"hidden_size": 4}, [["m", "n", 4], [1, 16, 4], [1, 16, 4], [1, 32], ["n"], [], [1, "n", 4]], "an axis of directions, got a scalar"),
    ("DynamicQuantizeLSTM", {"hidden_size": 4}, [["m", "n", 4], [1, 4, 16], [1, 4, 16]] + [[1]] * 9, "weights of 8 bits"),
])  # fmt: skip
def test_refused(op, attributes, inputs, reason, tmp_path):
    g = ContribGraph()
    kinds = [{("NGramRepeatBlock", 0): I64, ("LSTM", 4): I32}.get((op, i), F32) for i in range(len(inputs))]
    domain = {"domain": ""} if op == "LSTM" else {}
    g.node(op, *(g.input(f"x{i}", shape, kinds[i]) for i, shape in enumerate(inputs)), **attributes, **domain)
    onnx.save(g.model(), tmp_path / "graph.onnx")
    with pytest.raises(lathe.Error, match=reason):
        lathe.compile(tmp_path / "graph.onnx", tmp_path / "graph.lathe")
