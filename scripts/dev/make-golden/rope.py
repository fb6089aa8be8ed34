# SPDX-License-Identifier: Apache-2.0
"""RoPE frequency tables of transformers, for scalings as Mistral and Llama models use them.

    python3 rope.py OUTPUT.gguf
"""

import sys

import numpy as np
import torch
import transformers
from transformers import MistralConfig
from transformers.models.mistral.modeling_mistral import MistralRotaryEmbedding

from container import Golden

CASES = (
    ("plain-64", 64, {"rope_type": "default", "rope_theta": 10000.0}),
    ("plain-128-1e6", 128, {"rope_type": "default", "rope_theta": 1e6}),
    ("linear-128", 128, {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}),
    ("llama3-128", 128, {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 8.0,
                         "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                         "original_max_position_embeddings": 8192}),
    ("llama3-64", 64, {"rope_type": "llama3", "rope_theta": 500000.0, "factor": 32.0,
                       "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                       "original_max_position_embeddings": 8192}),
    ("yarn-128", 128, {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 16.0,
                       "original_max_position_embeddings": 4096}),
    ("yarn-64-1e6", 64, {"rope_type": "yarn", "rope_theta": 1e6, "factor": 4.0,
                         "original_max_position_embeddings": 32768}),
    ("yarn-128-betas", 128, {"rope_type": "yarn", "rope_theta": 10000.0, "factor": 8.0,
                             "beta_fast": 16.0, "beta_slow": 2.0,
                             "original_max_position_embeddings": 2048}),
)
POSITIONS = (0, 1, 63, 4095, 32767, 131071)
NAMES = {"default": "none"}


def main():
    golden = Golden(sys.argv[1], f"transformers {transformers.__version__}, "
                    f"torch {torch.__version__}")
    golden.number("golden.cases", len(CASES))
    for i, (name, size, rope) in enumerate(CASES):
        config = MistralConfig(head_dim=size, hidden_size=size * 4, num_attention_heads=4,
                               max_position_embeddings=131072, rope_parameters=dict(rope))
        rotary = MistralRotaryEmbedding(config)
        key = f"case.{i}."
        golden.text(key + "name", name)
        golden.text(key + "type", NAMES.get(rope["rope_type"], rope["rope_type"]))
        golden.number(key + "head_dim", size)
        golden.number(key + "base", float(rope["rope_theta"]))
        golden.number(key + "factor", float(rope.get("factor", 1.0)))
        golden.number(key + "original_context", rope.get("original_max_position_embeddings", 0))
        golden.number(key + "beta_fast", float(rope.get("beta_fast", 32.0)))
        golden.number(key + "beta_slow", float(rope.get("beta_slow", 1.0)))
        golden.number(key + "low_freq_factor", float(rope.get("low_freq_factor", 1.0)))
        golden.number(key + "high_freq_factor", float(rope.get("high_freq_factor", 1.0)))
        golden.number(key + "gain", float(rotary.attention_scaling))
        inverse = rotary.inv_freq.numpy()
        golden.array(key + "inverse_frequencies", inverse, np.float32)
        # Angles in F64 from the F32 frequencies: what a table of cosines must hold far out too.
        angle = np.array(POSITIONS, np.float64)[:, None] * inverse.astype(np.float64)
        golden.array(key + "positions", POSITIONS, np.int32)
        golden.array(key + "cos", np.cos(angle) * rotary.attention_scaling, np.float32)
        golden.array(key + "sin", np.sin(angle) * rotary.attention_scaling, np.float32)
    golden.save()


if __name__ == "__main__":
    main()
