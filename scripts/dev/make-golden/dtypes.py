# SPDX-License-Identifier: Apache-2.0
"""Blocks of every GGUF dtype that Gregale reads, with the values the gguf package gives them.

    python3 dtypes.py OUTPUT.gguf
"""

import sys
from importlib.metadata import version

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType as T, quants

from container import Golden

# dtype, byte offsets of its F16 scales inside a block
TYPES = ((T.F32, ()), (T.F16, ()), (T.BF16, ()), (T.Q4_0, (0,)), (T.Q4_1, (0, 2)), (T.Q5_0, (0,)),
         (T.Q5_1, (0, 2)), (T.Q8_0, (0,)), (T.Q2_K, (80, 82)), (T.Q3_K, (108,)), (T.Q4_K, (0, 2)),
         (T.Q5_K, (0, 2)), (T.Q6_K, (208,)), (T.IQ4_NL, (0,)), (T.IQ4_XS, (0,)))
VALUES = 2048    # values a dtype of small blocks; big blocks get BLOCKS
BLOCKS = 10


def plain_bytes(dtype, rng):
    """Floats of every size a weight may have, zeros of both signs and subnormals among them."""
    x = rng.standard_normal(512) * 2.0 ** rng.integers(-12, 8, 512)
    x[:6] = 0.0, -0.0, 6e-8, -3.1e-5, 65504.0, -65504.0
    x = x.astype(np.float32)
    if dtype == T.F32:
        return x.view(np.uint8)
    return np.ascontiguousarray(quants.quantize(x, dtype)).view(np.uint8).ravel()


def block_bytes(dtype, scales, rng):
    """Random blocks: any payload is valid, scales are ordinary numbers, some zero or negative."""
    size, width = GGML_QUANT_SIZES[dtype]
    count = BLOCKS if size == 256 else VALUES // size
    blocks = rng.integers(0, 256, (count, width), dtype=np.uint8)
    for offset in scales:
        scale = (rng.standard_normal(count) * 2.0 ** rng.integers(-8, 2, count)).astype(np.float16)
        scale[:2] = 0.0, 6e-8
        blocks[:, offset:offset + 2] = scale.view(np.uint8).reshape(count, 2)
    return blocks.ravel()


def main():
    golden = Golden(sys.argv[1], f"gguf {version('gguf')}, numpy {np.__version__}")
    rng = np.random.default_rng(4)
    given = rng.standard_normal(1024).astype(np.float32)
    given[100], given[333], given[512:544] = 9.0, -7.5, 0.0
    golden.array("quantize.input", given, np.float32)
    for dtype, scales in TYPES:
        name = dtype.name.lower()
        data = block_bytes(dtype, scales, rng) if scales else plain_bytes(dtype, rng)
        values = data.view(np.float32) if dtype == T.F32 else quants.dequantize(data, dtype).ravel()
        assert np.isfinite(values).all(), name
        golden.blocks(f"{name}.blocks", data, dtype)
        golden.array(f"{name}.values", values, np.float32)
        try:
            made = given.view(np.uint8) if dtype == T.F32 else quants.quantize(given, dtype)
        except NotImplementedError:
            continue
        golden.blocks(f"quantize.{name}", made, dtype)
        print("quantises", name)
    golden.save()


if __name__ == "__main__":
    main()
