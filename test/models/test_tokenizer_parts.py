# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Each normalizer, pre-tokenizer, post-processor and decoder by itself against the tokenizers package.

The model shows what it is given: it knows bytes alone, and ends every word with a mark.
"""
import json

import pytest
from tokenizer_support import PROSE, SPECIAL, Tokenizer, code_points, compare_random_decoding, random_texts
from tokenizers import Tokenizer as Reference

MARK = "\u21b5"


def mirror(**parts):
    vocabulary = {f"<0x{byte:02X}>": byte for byte in range(256)}
    model = {"type": "BPE", "vocab": vocabulary, "merges": [], "byte_fallback": True, "end_of_word_suffix": MARK}
    model.update({"dropout": None, "unk_token": None, "continuing_subword_prefix": None, "fuse_unk": False})
    names = ("normalizer", "pre_tokenizer", "post_processor", "decoder")
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "model": model} | {
        name: parts.get(name) for name in names
    }


def regex(text):
    return {"Regex": text}


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def of(kind, **members):
    return {"type": kind, **members}


def split(pattern, behavior="Isolated", invert=False):
    return of("Split", pattern=pattern, behavior=behavior, invert=invert)


def bert(**members):
    defaults = dict(clean_text=False, handle_chinese_chars=False, strip_accents=None, lowercase=False)
    return of("BertNormalizer", **{**defaults, **members})


BYTE_LEVEL = of("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CLIP = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"

NORMALIZERS = {
    "nfc": of("NFC"),
    "nfd": of("NFD"),
    "nfkc": of("NFKC"),
    "nfkd": of("NFKD"),
    "lowercase": of("Lowercase"),
    "strip": of("Strip", strip_left=True, strip_right=True),
    "strip_left": of("Strip", strip_left=True, strip_right=False),
    "strip_right": of("Strip", strip_left=False, strip_right=True),
    "strip_accents": of("StripAccents"),
    "nfd_strip_accents": sequence("normalizers", of("NFD"), of("Lowercase"), of("StripAccents")),
    "nmt": of("Nmt"),
    "prepend": of("Prepend", prepend="\u2581"),
    "byte_level": of("ByteLevel"),
    "replace_string": of("Replace", pattern={"String": " "}, content="\u2581"),
    "replace_regex": of("Replace", pattern=regex(r"\s+"), content=" "),
    "replace_groups": of("Replace", pattern=regex(r"(\p{L})(?=\p{N})|\w\b|\W{2}"), content="$1"),
    "replace_empty": of("Replace", pattern=regex(r"x*"), content="-"),
    "bert_clean": bert(clean_text=True),
    "bert_chinese": bert(handle_chinese_chars=True),
    "bert_accents": bert(strip_accents=True),
    "bert_lower": bert(lowercase=True),
    "bert_cased": bert(clean_text=True, handle_chinese_chars=True, strip_accents=False),
    "bert_uncased": bert(clean_text=True, handle_chinese_chars=True, lowercase=True),
    "no_normalizer": None,
    "empty_sequence": sequence("normalizers"),
}

PRE_TOKENIZERS = {
    "byte_level": of("ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
    "byte_level_prefix": of("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True),
    "byte_level_plain": of("ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=False),
    "whitespace": of("Whitespace"),
    "whitespace_split": of("WhitespaceSplit"),
    "bert": of("BertPreTokenizer"),
    "unicode_scripts": of("UnicodeScripts"),
    "digits": of("Digits", individual_digits=True),
    "digits_together": of("Digits", individual_digits=False),
    "delimiter": of("CharDelimiterSplit", delimiter="e"),
    "delimiter_wide": of("CharDelimiterSplit", delimiter="\u3002"),
    "fixed_length": of("FixedLength", length=3),
    "llama3": split(regex(LLAMA3)),
    "o200k": split(regex(O200K)),
    "clip": split(regex(CLIP), "Removed", True),
    "properties": split(regex(r"\P{L}+\p{^N}|[\W\d]|[^\w\p{Han}]+|\p{Lo}\p{Mn}*")),
    "split_blank": split({"String": " "}, "MergedWithNext"),
    "split_empty": split({"String": ""}),
    "split_empty_regex": split(regex(r"a*"), "Removed"),
    "split_special_characters": split({"String": "(a.b*"}, "Removed"),
    "sequence": sequence(
        "pretokenizers",
        split(regex(r"\p{N}{1,3}")),
        of("Punctuation", behavior="Isolated"),
        of("ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=True),
    ),
    "metaspace_after_split": sequence(
        "pretokenizers",
        of("WhitespaceSplit"),
        of("Metaspace", replacement="\u2581", prepend_scheme="first", split=True),
    ),
    "metaspace_old": of("Metaspace", replacement="\u2581", add_prefix_space=True),
}
for behavior in ("Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"):
    PRE_TOKENIZERS[f"punctuation_{behavior}"] = of("Punctuation", behavior=behavior)
    for invert in (False, True):
        PRE_TOKENIZERS[f"split_{behavior}_{invert}"] = split(regex(r"\s|[aeiou]"), behavior, invert)
for scheme in ("always", "first", "never"):
    for splits in (True, False):
        PRE_TOKENIZERS[f"metaspace_{scheme}_{splits}"] = of(
            "Metaspace", replacement="\u2581", prepend_scheme=scheme, split=splits
        )

DECODERS = {
    "none": None,
    "byte_level": BYTE_LEVEL,
    "byte_fallback": of("ByteFallback"),
    "fuse": of("Fuse"),
    "word_piece": of("WordPiece", prefix="##", cleanup=True),
    "word_piece_plain": of("WordPiece", prefix="##", cleanup=False),
    "metaspace": of("Metaspace", replacement="\u2581", prepend_scheme="always", split=True),
    "metaspace_never": of("Metaspace", replacement="\u2581", prepend_scheme="never", split=True),
    "bpe": of("BPEDecoder", suffix="</w>"),
    "replace": of("Replace", pattern={"String": "\u2581"}, content=" "),
    "replace_regex": of("Replace", pattern=regex("a+|\u2581"), content="(x)"),
    "strip_start": of("Strip", content=" ", start=2, stop=0),
    "ctc": of("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=True),
    "ctc_plain": of("CTC", pad_token="<pad>", word_delimiter_token="|", cleanup=False),
    "llama2": sequence(
        "decoders",
        of("Replace", pattern={"String": "\u2581"}, content=" "),
        of("ByteFallback"),
        of("Fuse"),
        of("Strip", content=" ", start=1, stop=0),
    ),
    "fused_words": sequence("decoders", of("Fuse"), of("Replace", pattern={"String": "</w>"}, content=" ")),
    "clip": sequence("decoders", BYTE_LEVEL, of("Replace", pattern={"String": "</w>"}, content=" ")),
    "empty": sequence("decoders"),
}

TEXTS = SPECIAL + PROSE.split("\n") + list(random_texts(300, seed=3))


def texts_of_code_points():
    """Every code point between letters, at the ends of words, and before marks."""
    known = [code for code in code_points() if not 0xD800 <= code < 0xE000]
    for start in range(0, len(known), 400):
        characters = list(map(chr, known[start : start + 400]))
        yield " ".join(f"a{c}b {c}." for c in characters)
        yield "".join(f"{c}\u0323\u0301\u0334 " for c in characters)


def equal(file):
    ours, theirs = Tokenizer(file), Reference.from_str(json.dumps(file))
    for text in [*TEXTS, *texts_of_code_points()]:
        expected = theirs.encode(text).ids
        got = ours.encode(text)
        if got != expected:
            at = next(i for i, pair in enumerate(zip(got + [-1], expected + [-1])) if pair[0] != pair[1])
            around = [bytes(ids[max(0, at - 24) : at + 12]).decode(errors="replace") for ids in (got, expected)]
            raise AssertionError(f"{around[0]!r} is not {around[1]!r} in {text[:40]!r}")


@pytest.mark.parametrize("name", NORMALIZERS)
def test_normalizer(name):
    equal(mirror(normalizer=NORMALIZERS[name]))


@pytest.mark.parametrize("name", PRE_TOKENIZERS)
def test_pre_tokenizer(name):
    equal(mirror(pre_tokenizer=PRE_TOKENIZERS[name]))


@pytest.mark.parametrize("name", DECODERS)
def test_decoder(name):
    tokens = "a b ab \u2581 \u2581a a\u2581b \u2581\u2581 ##a ## a</w> </w> </w>b <pad> <pad>a | a|b . ? ! , ' n't 'm 's 've 're do not".split(" ")
    tokens += [" do not", " ", "  ", "  a ", "\u0120a", "\u00c3", "\u00a9", "\u00e9", "\u4e2d", "<0x0A>", "<0xC3>", "<0xA9>", "<0xE2>"]
    tokens += ["<0xF0>", "<0x9F>", "<0x98>", "<0x80>", "<0xZZ>", "<0x1>", "\u00f0\u0141", "\u013a\u0122", "[UNK]", "<s>"]
    vocabulary = {token: i for i, token in enumerate(dict.fromkeys(tokens))}
    file = mirror(decoder=DECODERS[name])
    file["model"] = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "[UNK]"}
    special = dict(single_word=False, lstrip=False, rstrip=False, normalized=False, special=True)
    file["added_tokens"] = [{"id": vocabulary["<s>"], "content": "<s>", **special}]
    compare_random_decoding(Tokenizer(file), Reference.from_str(json.dumps(file)), 3000)


def added(content, token, **members):
    defaults = dict(single_word=False, lstrip=False, rstrip=False, normalized=True, special=False)
    return {"id": token, "content": content, **{**defaults, **members}}


@pytest.mark.parametrize("normalizer", [None, of("Lowercase"), of("Prepend", prepend="_"), of("NFKC")])
def test_added_tokens(normalizer):
    tokens = [
        added("<s>", 256, special=True, normalized=False),
        added("<MASK>", 257, special=True, normalized=False, lstrip=True),
        added("[R]", 258, rstrip=True, normalized=False),
        added("Both", 259, lstrip=True, rstrip=True, single_word=True),
        added("  ", 260, normalized=False),
        added("New York", 261),
        added("New", 262, single_word=True),
        added("ABC", 263),
        added("ABCDE", 264, normalized=False),
        added("CD", 265),
        added("\u00e9", 266),
        added("\ufb01", 267),
        added("word", 268, single_word=True, normalized=False),
    ]
    file = mirror(normalizer=normalizer, pre_tokenizer=of("Whitespace"))
    file["added_tokens"] = tokens
    ours, theirs = Tokenizer(file), Reference.from_str(json.dumps(file))
    pieces = [token["content"] for token in tokens] + ["a", " ", "  ", "\n", ".", "_", "\u00e9", "new york", "AB", "CDE", "\u0301"]
    import random

    rng = random.Random(4)
    for _ in range(3000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(1, 9)))
        assert ours.encode(text) == theirs.encode(text).ids, repr(text)
    assert ours.info().vocabulary_size == theirs.get_vocab_size()
    for token in range(theirs.get_vocab_size()):
        assert ours.token_text(token) == theirs.id_to_token(token)
    for token in tokens:
        assert ours.token_id(token["content"]) == theirs.token_to_id(token["content"])


@pytest.mark.parametrize(
    "processor, ends",
    [
        (None, (-1, -1)),
        (of("BertProcessing", sep=["b", 98], cls=["a", 97]), (97, 98)),
        (of("RobertaProcessing", sep=["b", 98], cls=["a", 97], trim_offsets=True, add_prefix_space=True), (97, 98)),
        (of("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True), (-1, -1)),
    ],
)
def test_post_processor(processor, ends):
    file = mirror(post_processor=processor)
    ours, theirs = Tokenizer(file), Reference.from_str(json.dumps(file))
    for text in ("", "x", "xy z"):
        for special in (True, False):
            assert ours.encode(text, special) == theirs.encode(text, add_special_tokens=special).ids
    assert (ours.info().bos_id, ours.info().eos_id) == ends


def template(*pieces):
    single = [{"Sequence": {"id": "A", "type_id": 0}} if piece is None else {"SpecialToken": {"id": piece, "type_id": 0}} for piece in pieces]
    tokens = {name: {"id": name, "ids": ids, "tokens": ["x"] * len(ids)} for name, ids in (("a", [97]), ("bc", [98, 99]))}
    pair = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}]
    return of("TemplateProcessing", single=single, pair=pair, special_tokens=tokens)


@pytest.mark.parametrize("pieces", [("a", None, "bc"), (None,), (None, "a"), ("bc", None), ("bc", "a", None, "a")])
def test_template(pieces):
    byte_level = of("ByteLevel", add_prefix_space=True, trim_offsets=True, use_regex=True)
    for processor in (template(*pieces), sequence("processors", byte_level, template(*pieces))):
        file = mirror(post_processor=processor)
        ours, theirs = Tokenizer(file), Reference.from_str(json.dumps(file))
        for text in ("", "x", "xy z"):
            assert ours.encode(text) == theirs.encode(text).ids
