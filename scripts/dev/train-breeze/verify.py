# SPDX-License-Identifier: Apache-2.0
"""Show that breeze's module is transformers' MistralForCausalLM: same weights, same logits.

    python3 verify.py [CHECKPOINT.pt]

Without a checkpoint, random weights with sharpened attention stand in. Fails above 2e-4 of the
largest logit (transformers rounds RoPE's angles to F32); a window one wider must be a hundred times worse.
"""

import sys

import torch
from transformers import MistralConfig, MistralForCausalLM

from model import Breeze, Config


def hugging_face(c, window):
    config = MistralConfig(
        vocab_size=c.vocab, hidden_size=c.hidden, intermediate_size=c.ffn,
        num_hidden_layers=c.layers, num_attention_heads=c.heads, num_key_value_heads=c.kv_heads,
        head_dim=c.head_dim, sliding_window=window, rms_norm_eps=c.rms_eps,
        tie_word_embeddings=True, max_position_embeddings=c.context,
        rope_parameters={"rope_type": "default", "rope_theta": c.rope_base},
        attn_implementation="eager",
    )
    return MistralForCausalLM(config).eval()


@torch.no_grad()
def main():
    torch.manual_seed(5)
    c = Config()
    ours = Breeze(c).eval()
    if len(sys.argv) > 1:
        ours.load_state_dict(torch.load(sys.argv[1]))
    else:
        for name, p in ours.named_parameters():
            if "q_proj" in name or "k_proj" in name:
                p.mul_(8)
    tokens = torch.randint(3, c.vocab, (2, 300))
    mine = ours(tokens)
    gaps = []
    for window in (c.window, c.window + 1):
        theirs = hugging_face(c, window)
        missing, extra = theirs.load_state_dict(ours.state_dict(), strict=False)
        if extra or set(missing) != {"lm_head.weight"}:
            raise SystemExit(f"names differ: {missing} {extra}")
        theirs.tie_weights()
        gap = (theirs(tokens).logits - mine).abs().max() / mine.abs().max()
        gaps.append(gap.item())
    print(f"relative gap {gaps[0]:.2e}; with a window one wider {gaps[1]:.2e}")
    if gaps[0] > 2e-4 or gaps[1] < 100 * gaps[0]:
        raise SystemExit("the module and transformers disagree")


if __name__ == "__main__":
    main()
