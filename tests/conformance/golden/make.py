# SPDX-License-Identifier: Apache-2.0
"""Writes dtypes.bin: blocks of every quantised type, and what the `gguf` package (0.19.0, with numpy
2.4.6) makes of them. Needs gguf and numpy; run it again only when a type is added.

    python3 make.py dtypes.bin

Little-endian. "GRDT", u32 count, then for each type: u32 GGUF number, u32 values, u32 bytes, the bytes,
the values as F32. Half of the blocks are quantised from normal random values where the package can, the
others are random bits with modest scales, so that every code of every field occurs.
"""
import struct
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

TYPES = [T.F16, T.BF16, T.Q4_0, T.Q4_1, T.Q5_0, T.Q5_1, T.Q8_0, T.Q2_K, T.Q3_K, T.Q4_K, T.Q5_K, T.Q6_K,
         T.IQ4_NL, T.IQ4_XS]
# Byte offsets of the F16 scales in a block.
SCALES = {T.Q4_0: [0], T.Q4_1: [0, 2], T.Q5_0: [0], T.Q5_1: [0, 2], T.Q8_0: [0], T.Q2_K: [80, 82], T.Q3_K: [108],
          T.Q4_K: [0, 2], T.Q5_K: [0, 2], T.Q6_K: [208], T.IQ4_NL: [0], T.IQ4_XS: [0]}


def random_blocks(rng, kind, count):
    _, size = gguf.GGML_QUANT_SIZES[kind]
    raw = rng.integers(0, 256, (count, size), dtype=np.uint8)
    for at in SCALES[kind]:
        scale = (rng.standard_normal(count) * 0.05).astype(np.float16)
        raw[:, at:at + 2] = scale.view(np.uint8).reshape(count, 2)
    return raw.reshape(-1)


def blocks(rng, kind):
    if kind in (T.F16, T.BF16):
        return quants.quantize(rng.standard_normal((1, 512)).astype(np.float32), kind).reshape(-1).view(np.uint8)
    block, _ = gguf.GGML_QUANT_SIZES[kind]
    raw = random_blocks(rng, kind, 512 // block)
    try:
        made = quants.quantize(rng.standard_normal((1, 512)).astype(np.float32), kind)
    except NotImplementedError:
        return np.concatenate([raw, random_blocks(rng, kind, 512 // block)])
    return np.concatenate([raw, made.reshape(-1)])


def main(path):
    rng = np.random.default_rng(1)
    with open(path, "wb") as out:
        out.write(b"GRDT" + struct.pack("<I", len(TYPES)))
        for kind in TYPES:
            raw = np.ascontiguousarray(blocks(rng, kind))
            values = quants.dequantize(raw.reshape(1, -1), kind).astype("<f4").reshape(-1)
            out.write(struct.pack("<III", int(kind), values.size, raw.size) + raw.tobytes() + values.tobytes())


if __name__ == "__main__":
    main(sys.argv[1])
