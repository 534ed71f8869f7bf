# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Generation as plainly as can be, over ONNX Runtime: what the tests of generation compare with."""
import copy

import numpy as np
import onnxruntime

# The size of the vocabulary by model.
DECODERS = {
    "gpt2": 997,
    "gpt2_legacy": 997,
    "gpt2_nocache": 997,
    "llama": 997,
    "llama_nocache": 997,
    "llama_opset23": 997,
    "mistral": 997,
    "qwen2": 997,
    "gemma3_text": 100,
    "bloom": 100,
}
ENCODER_DECODERS = {"t5": 997, "bart": 997, "whisper": 997}


class Text:
    """A sequence that grows: through the caches of a graph that has them, else all of it is computed again."""

    def __init__(self, session, source):
        self.session = session
        self.inputs = {info.name: info for info in session.get_inputs()}
        self.outputs = [info.name for info in session.get_outputs()]
        self.source = source
        self.tokens = []
        self.past = {
            name: np.zeros([1 if dim == "batch" else 0 if isinstance(dim, str) else dim for dim in info.shape], np.float32)
            for name, info in self.inputs.items()
            if name.startswith("past")
        }

    def fork(self):
        return copy.copy(self)

    def append(self, tokens):
        """The logits after the last of the tokens."""
        done = len(self.tokens) if self.past else 0
        self.tokens = self.tokens + [int(token) for token in tokens]
        length = len(self.tokens)
        feed = dict(self.source, **self.past)
        for name in self.inputs:
            if name in feed:
                continue
            if name == "attention_mask" and self.source:
                feed[name] = np.ones((1, self.source["input_ids"].shape[1]), np.int64)
            elif name == "attention_mask":
                feed[name] = np.ones((1, length), np.int64)
            elif name == "position_ids":
                feed[name] = np.arange(done, length, dtype=np.int64)[None]
            else:
                feed[name] = np.array([self.tokens[done:]], np.int64)
        values = dict(zip(self.outputs, self.session.run(None, feed)))
        self.past = {name: values[name.replace("past_key_values", "present")] for name in self.past}
        return values[self.outputs[0]][0, -1]


class Plain:
    """The loops over a model."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    def text(self, source=None):
        return Text(self.session, source or {})

    def greedy(self, prompt, count, source=None, ends=()):
        text = self.text(source)
        logits = text.append(prompt)
        result = []
        while True:
            result.append(int(logits.argmax()))
            if len(result) == count or result[-1] in ends:
                return result
            logits = text.append(result[-1:])

    def beams(self, prompt, count, beams, source=None, ends=(), length_penalty=1.0, early_stopping=False, returned=1):
        """Beam search as transformers' `generate` does it: pairs of new tokens and score, the best first."""
        first = self.text(source)
        first_logits = first.append(prompt)
        running = [(0.0 if i == 0 else -1e9, [], first, first_logits) for i in range(beams)]
        finished = []  # (score, tokens), the best first, at most `beams`
        kept = max(2, 1 + len(ends)) * beams
        while True:
            candidates = []
            for index, (score, tokens, _, logits) in enumerate(running):
                row = logits.astype(np.float64)
                row = row - row.max()
                row = row - np.log(np.exp(row).sum())
                for token in np.argsort(-row, kind="stable")[:kept]:
                    candidates.append((score + row[token], index, int(token), tokens + [int(token)]))
            candidates.sort(key=lambda one: -one[0])
            candidates = candidates[:kept]
            length = len(running[0][1]) + 1
            over = [tokens[-1] in ends or length == count for _, _, _, tokens in candidates]
            is_full = len(finished) == beams
            for place, (score, _, _, tokens) in enumerate(candidates[:beams]):
                # Of beams that all have finished nothing is looked at any more where the search ends early.
                if over[place] and not (is_full and early_stopping is True) and score > -1e8:
                    finished.append((score / length**length_penalty, tokens))
            finished = sorted(finished, key=lambda one: -one[0])[:beams]
            going = [one for one, ends_here in zip(candidates, over) if not ends_here][:beams]
            if not going:
                break
            is_full = len(finished) == beams
            best_length = count if early_stopping == "never" and length_penalty > 0 else length
            best = going[0][0] / best_length**length_penalty
            if is_full and (early_stopping is True or best <= finished[-1][0]):
                break
            texts = [running[index][2].fork() for _, index, _, _ in going]
            running = [
                (score, tokens, text, text.append([token]))
                for (score, _, token, tokens), text in zip(going, texts)
            ]
        return [(tokens, score) for score, tokens in finished[:returned]]
