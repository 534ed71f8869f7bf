# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""liblathe_tokenizer over its C interface, texts to compare with, and the comparison."""
import ctypes
import json
import os
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIBRARY = Path(os.environ.get("LATHE_BUILD", ROOT / "build")).resolve() / "lib" / "liblathe_tokenizer.so"


class Failure(Exception):
    """A status that is not LATHE_OK; its message, and the status."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


class Tokenizer:
    """A tokenizer of the library."""

    library = None

    def __init__(self, data):
        """data: the bytes of the file, its text, or what becomes its text."""
        if Tokenizer.library is None:
            Tokenizer.library = ctypes.CDLL(str(LIBRARY))
            Tokenizer.library.lathe_tokenizer_last_error.restype = ctypes.c_char_p
        if isinstance(data, dict):
            data = json.dumps(data)
        data = data.encode() if isinstance(data, str) else data
        self.handle = ctypes.c_void_p()
        self.call("load_memory", data, ctypes.c_size_t(len(data)), ctypes.byref(self.handle))

    def __del__(self):
        if self.handle:
            self.library.lathe_tokenizer_release(self.handle)

    def call(self, name, *arguments):
        status = getattr(self.library, "lathe_tokenizer_" + name)(*arguments)
        if status:
            raise Failure(status, self.library.lathe_tokenizer_last_error().decode())

    def encode(self, text, special=True):
        data = text if isinstance(text, bytes) else text.encode()
        ids, count = ctypes.POINTER(ctypes.c_int64)(), ctypes.c_size_t()
        size = ctypes.c_size_t(len(data))
        self.call("encode", self.handle, data, size, int(special), ctypes.byref(ids), ctypes.byref(count))
        result = ids[: count.value]
        self.library.lathe_tokenizer_free(ids)
        return result

    def decode(self, ids, skip=True):
        array = (ctypes.c_int64 * len(ids))(*ids)
        text, size = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        count = ctypes.c_size_t(len(ids))
        self.call("decode", self.handle, array, count, int(skip), ctypes.byref(text), ctypes.byref(size))
        result = text[: size.value].decode()
        self.library.lathe_tokenizer_free(text)
        return result

    def stream(self, ids, skip=True):
        """The parts of the text; each must be valid UTF-8 by itself."""
        stream, text, size = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        self.call("stream_create", self.handle, int(skip), ctypes.byref(stream))
        parts = []
        try:
            for token in ids:
                self.call("stream_push", stream, ctypes.c_int64(token), ctypes.byref(text), ctypes.byref(size))
                parts.append(text[: size.value].decode())
            self.call("stream_finish", stream, ctypes.byref(text), ctypes.byref(size))
            parts.append(text[: size.value].decode())
        finally:
            self.library.lathe_tokenizer_stream_release(stream)
        return parts

    def info(self):
        class Info(ctypes.Structure):
            _fields_ = [("struct_size", ctypes.c_size_t), ("kind", ctypes.c_char_p)]
            _fields_ += [(name, ctypes.c_size_t) for name in ("vocabulary_size", "special_count")]
            _fields_ += [(name, ctypes.c_int64) for name in ("max_id", "bos_id", "eos_id", "unk_id")]

        info = Info()
        self.library.lathe_tokenizer_info_init(ctypes.byref(info))
        self.call("get_info", self.handle, ctypes.byref(info))
        return info

    def token_id(self, token):
        data, found = token.encode(), ctypes.c_int64()
        self.call("token_id", self.handle, data, ctypes.c_size_t(len(data)), ctypes.byref(found))
        return found.value

    def token_text(self, token):
        text, size = ctypes.POINTER(ctypes.c_char)(), ctypes.c_size_t()
        self.call("token_text", self.handle, ctypes.c_int64(token), ctypes.byref(text), ctypes.byref(size))
        return text[: size.value].decode()


# ---------------------------------------------------------------------------------------------------------------------
# Texts. Nothing of them comes from outside the tree, and they are the same every time.
# ---------------------------------------------------------------------------------------------------------------------

PROSE = """The quick brown fox doesn't jump over the lazy dog; it'll walk, won't it? They're 3,141 metres away -- I've
measured (twice!). Prices: $12.50, €9,99 or £8.00... We'd better e-mail foo.bar@example.org or see https://example.org/a?b=c.
Der Größenmaßstab überraschte ÉLÉONORE; l'été à Œuf-sur-Mer coûtait ½ œuf. Ça va? ¿Qué tal, señor Muñoz? İstanbul'da ışık.
Съешь же ещё этих мягких французских булок, да выпей чаю. Ξεσκεπάζω τὴν ψυχοφθόρα βδελυγμία. עברית קלה, العربية سهلة ١٢٣.
日本語のテキストと漢字かな交じり文。カタカナ、ﾊﾝｶｸ！ 中文字符，没有空格。한국어 문장도 있습니다. ภาษาไทยไม่มีช่องว่าง हिन्दी में लिखा क्षत्रिय।
தமிழ் எழுத்து ქართული Հայերեն አማርኛ ខ្មែរ ລາວ မြန်မာ ᏣᎳᎩ ᐃᓄᒃᑎᑐᑦ བོད་ཡིག 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𐌰𐌱 𒀀𒀁 ①②③ ⅷ Ⅻ x²+y³ ﬁﬂ ﷺ ℌ ㎏ ㍿ Ａ１！
👨‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 ❤️‍🔥 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ☕︎ 🤷🏾‍♀️ e\u0301 o\u0308\u0323 a\u0323\u0307\u0301 Z\u0351\u036b\u0343 \u1100\u1161\u11a8 각\u11a8 \u0958 \u0344"""

SPECIAL = [
    "", " ", "  ", "\n", "\t\n\r\n ", " a", "a ", "  a  b   ", "\u00a0\u2003\u3000x\u200bx\u2060\ufeffx\u00ad", "\x00a\x01\x7f\x85b\x1c",
    "'s 't 're 've 'm 'll 'd 'S 'RE it's''s", "\u2581a \u2581\u2581b a\u2581b", "#### ## # ##a a## -- ---- -=-", "a" * 300, "ab" * 400,
    " " * 500 + "x", "\n" * 70 + " y", "!" * 90, "9" * 77 + " 12345 1,234", "\u4e2d" * 120, "\u0e01" * 130, "\U0001f600" * 40, "\u0301" * 60,
    "<s>a</s> <s> b</s><unk>[CLS][SEP][MASK]", "x<|endoftext|>y <|endoftext|> z<|endoftext|", "<0x41><0xE2><0x0A> <0x", "\u0130I\u0131i\u03a3\u03c3\u03c2 \u1e9e\u00df",
    "def f(x, *, y=1):\n    return {k: v for k, v in x.items() if v}\n\n\tif (a&&b||!c) { a->b[1]+=0x1F; } // TODO\r\n",
]  # fmt: skip


def random_texts(count, seed=1):
    """Random code points, mostly near each other, of all planes."""
    rng = random.Random(seed)
    starts = [0x20, 0x20, 0x41, 0xA0, 0x300, 0x370, 0x400, 0x590, 0x620, 0x900, 0xE00, 0x1100, 0x1E00, 0x2000, 0x2190, 0x3000]
    starts += [0x3040, 0x4E00, 0xAC00, 0xF900, 0xFB00, 0xFE00, 0xFF00, 0x10000, 0x1D400, 0x1F300, 0x1F600, 0x20000, 0xE0020]
    for _ in range(count):
        text = []
        while len(text) < rng.randrange(1, 60):
            start = rng.choice(starts)
            text += [start + rng.randrange(96) for _ in range(rng.randrange(1, 7))] + [0x20] * (rng.random() < 0.4)
            if rng.random() < 0.1:
                text.append(rng.choice([rng.randrange(0xD800), rng.randrange(0xE000, 0x110000)]))
        yield "".join(map(chr, text))


def corpus():
    """Sources and documents of this tree, many scripts, odd cases and random characters."""
    texts = list(SPECIAL) + PROSE.split("\n") + [PROSE]
    for pattern in ("runtime/*.cpp", "docs/design/*.md", "scripts/*.py", "test/lit/passes/fusion/*.mlir"):
        texts += [path.read_text() for path in sorted(ROOT.glob(pattern))[:12]]
    return texts + list(random_texts(400))


def code_points():
    """All code points that are assigned to something but ideographs and the like, and samples of all others."""
    dense = [(0x0, 0x3400), (0xA000, 0xAC00), (0xD7A0, 0xD800), (0xF8FE, 0x12600), (0x16800, 0x17000), (0x1AFF0, 0x1FC00)]
    dense += [(0x2F800, 0x2FA20), (0xE0000, 0xE0200), (0x13000, 0x14700)]
    known = set(range(0, 0xD800, 61)) | set(range(0xE000, 0x110000, 211))
    for first, end in dense:
        known.update(range(first, end))
    return sorted(known)


def compare(ours, theirs, texts, skips=(True, False)):
    """Ids with and without special tokens, and their texts, whole and as streams."""
    for text in texts:
        for special in (True, False):
            ids = theirs.encode(text, add_special_tokens=special).ids
            assert ours.encode(text, special) == ids, f"{text!r} special {special}"
        for skip in skips:
            compare_decoding(ours, theirs, ids, skip)


def compare_decoding(ours, theirs, ids, skip):
    expected = theirs.decode(ids, skip_special_tokens=skip)
    assert ours.decode(ids, skip) == expected, f"{ids} skip {skip}"
    assert "".join(ours.stream(ids, skip)) == expected, f"{ids} skip {skip}, streamed"


def compare_random_decoding(ours, theirs, rounds=300, seed=2):
    """Rows of ids that no text has, and ids of no token."""
    rng = random.Random(seed)
    size = theirs.get_vocab_size()
    for _ in range(rounds):
        ids = [rng.randrange(size + size // 50 + 1) for _ in range(rng.randrange(1, 25))]
        compare_decoding(ours, theirs, ids, rng.random() < 0.5)
