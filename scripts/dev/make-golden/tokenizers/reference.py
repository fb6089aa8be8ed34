# SPDX-License-Identifier: Apache-2.0
"""Plain re-implementations that run on the REDUCED vocabularies, to prove that reducing changed nothing.

They share no code with the oracles: sentencepiece's BPE is merging by score, byte-level BPE is merging by rank, and
pre-tokenizer patterns run on the system's PCRE2, spelled as an application using PCRE2 would spell them.
"""

import ctypes
import ctypes.util
import heapq

WS = r"[\p{Z}\x{9}-\x{d}\x{85}]"
NWS = r"[^\p{Z}\x{9}-\x{d}\x{85}]"
OTHER = r"[^\p{Z}\x{9}-\x{d}\x{85}\p{L}\p{N}]"
GPT2 = rf"'s|'t|'re|'ve|'m|'ll|'d| ?\p{{L}}+| ?\p{{N}}+| ?{OTHER}+|{WS}+(?!{NWS})|{WS}+"
UPPER, LOWER = r"[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]", r"[\p{Ll}\p{Lm}\p{Lo}\p{M}]"
PREFIX = r"[^\r\n\p{L}\p{N}]?"
PATTERNS = {
    "gpt2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [
        rf"(?i:'s|'t|'re|'ve|'m|'ll|'d)|{PREFIX}\p{{L}}+|\p{{N}}{{1,3}}| ?{OTHER}+[\r\n]*|{WS}*[\r\n]+"
        rf"|{WS}+(?!{NWS})|{WS}+"
    ],
    "tekken": [
        rf"{PREFIX}{UPPER}*{LOWER}+|{PREFIX}{UPPER}+{LOWER}*|\p{{N}}| ?{OTHER}+[\r\n/]*|{WS}*[\r\n]+"
        rf"|{WS}+(?!{NWS})|{WS}+"
    ],
}
WHOLE_PIECE_FIRST = {"tekken", "llama-bpe"}  # a piece that is a token is that token, unmerged


class Pcre2:
    """Just enough of libpcre2-8 to find all matches of one pattern."""

    _UTF, _UCP, _JIT = 0x00080000, 0x00020000, 1
    _NO_CHECK = 0x40000000  # or each match would check the whole text again
    _lib = None

    def __init__(self, pattern: str):
        if Pcre2._lib is None:
            lib = ctypes.CDLL(ctypes.util.find_library("pcre2-8") or "libpcre2-8.so.0")
            lib.pcre2_compile_8.restype = ctypes.c_void_p
            lib.pcre2_match_data_create_from_pattern_8.restype = ctypes.c_void_p
            lib.pcre2_get_ovector_pointer_8.restype = ctypes.POINTER(ctypes.c_size_t)
            Pcre2._lib = lib
        data = pattern.encode()
        error, where = ctypes.c_int(), ctypes.c_size_t()
        code = self._lib.pcre2_compile_8(
            data, ctypes.c_size_t(len(data)), self._UTF | self._UCP, ctypes.byref(error), ctypes.byref(where), None
        )
        if not code:
            raise ValueError(f"pattern error {error.value} at {where.value}: {pattern}")
        self._code = ctypes.c_void_p(code)
        self._lib.pcre2_jit_compile_8(self._code, self._JIT)
        self._match = ctypes.c_void_p(self._lib.pcre2_match_data_create_from_pattern_8(self._code, None))
        self._spans = self._lib.pcre2_get_ovector_pointer_8(self._match)

    def split(self, text: bytes) -> list[bytes]:
        """Matches and the gaps between them, in order."""
        out, at, done = [], 0, 0
        while at < len(text):
            rc = self._lib.pcre2_match_8(
                self._code, text, ctypes.c_size_t(len(text)), ctypes.c_size_t(at), self._NO_CHECK, self._match, None
            )
            if rc == -1:
                break
            if rc < 0:
                raise RuntimeError(f"pcre2_match: {rc}")
            start, end = self._spans[0], self._spans[1]
            if start > done:
                out.append(text[done:start])
            out.append(text[start:end])
            at = done = end
        if done < len(text):
            out.append(text[done:])
        return out


def merge(symbols: list, cost) -> list:
    """Merges the cheapest neighbouring pair, leftmost among equals, until none is left.

    cost(a, b) gives a comparable cost, or None where a and b do not merge; a + b is the merged symbol.
    """
    after = list(range(1, len(symbols))) + [-1]
    before = list(range(-1, len(symbols) - 1))
    alive = list(symbols)
    queue = []

    def consider(i: int, j: int) -> None:
        price = cost(alive[i], alive[j])
        if price is not None:
            heapq.heappush(queue, (price, i, j, alive[i], alive[j]))

    for i in range(len(symbols) - 1):
        consider(i, i + 1)
    while queue:
        _, i, j, a, b = heapq.heappop(queue)
        if alive[i] is not a or alive[j] is not b or after[i] != j:
            continue
        alive[i], alive[j] = a + b, None
        after[i] = after[j]
        if after[j] >= 0:
            before[after[j]] = i
            consider(i, after[i])
        if before[i] >= 0:
            consider(before[i], i)
    return [s for s in alive if s is not None]


class Spm:
    """SentencePiece BPE with byte fallback, identity normaliser, dummy prefix."""

    def __init__(self, pieces: dict[int, str], types: dict[int, int], scores: dict[int, float]):
        self.mergeable = {p: (i, -scores[i]) for i, p in pieces.items() if types[i] == 1}
        self.user = sorted((p for i, p in pieces.items() if types[i] == 4), key=len, reverse=True)
        self.user_ids = {p: i for i, p in pieces.items() if types[i] == 4}
        self.bytes = {int(p[3:5], 16): i for i, p in pieces.items() if types[i] == 6}

    def _symbols(self, text: str) -> list[str | tuple]:
        out, at = [], 0
        while at < len(text):
            user = next((u for u in self.user if text.startswith(u, at)), None) if text[at] == "[" else None
            out.append((user,) if user else text[at])
            at += len(user or text[at])
        return out

    def encode(self, text: str) -> list[int]:
        if not text:
            return []

        def cost(a, b):
            if isinstance(a, tuple) or isinstance(b, tuple):
                return None
            found = self.mergeable.get(a + b)
            return found and found[1]

        ids = []
        for symbol in merge(self._symbols("\u2581" + text.replace(" ", "\u2581")), cost):
            if isinstance(symbol, tuple):
                ids.append(self.user_ids[symbol[0]])
            elif symbol in self.mergeable:
                ids.append(self.mergeable[symbol][0])
            else:
                ids += [self.bytes[b] for b in symbol.encode()]
        return ids


class Bpe:
    """Byte-level BPE from a list of merges."""

    def __init__(self, pieces: dict[int, str], merges: list[tuple[str, str]], pre: str, alphabet: dict[int, str]):
        self.ids = {p: i for i, p in pieces.items()}
        self.ranks = {pair: rank for rank, pair in reversed(list(enumerate(merges)))}
        self.passes = [Pcre2(p) for p in PATTERNS[pre]]
        self.whole = pre in WHOLE_PIECE_FIRST
        self.alphabet = alphabet
        self.cache: dict[bytes, list[int]] = {}

    def _piece(self, piece: bytes) -> list[int]:
        spelled = [self.alphabet[b] for b in piece]
        word = "".join(spelled)
        if self.whole and word in self.ids:
            return [self.ids[word]]
        known = [c for c in spelled if c in self.ids]
        return [self.ids[s] for s in merge(known, lambda a, b: self.ranks.get((a, b)))]

    def encode(self, text: str) -> list[int]:
        pieces = [text.encode()]
        for split in self.passes:
            pieces = [part for piece in pieces for part in split.split(piece)]
        ids = []
        for piece in pieces:
            if piece not in self.cache:
                self.cache[piece] = self._piece(piece)
            ids += self.cache[piece]
        return ids
