# SPDX-License-Identifier: Apache-2.0
"""Goldens of small random Mistral checkpoints, computed by transformers.

    python3 logits.py OUTPUT_DIR

For each checkpoint: NAME.gguf (F32 weights, as converters write them) and NAME.golden.gguf
(prompts, logits, residual streams; ../../../tests/golden/README.md says how it is laid out).
A golden is written only if transformers and a brute-force pass agree, attention is peaked, and
each planted error moves the logits at least a hundred times as far as the golden's tolerance.
"""

import math
import os
import sys

import numpy as np
import torch
import transformers
from gguf import GGUFReader, GGUFWriter, RopeScalingType, TokenType
from transformers import MistralConfig, MistralForCausalLM
from transformers.masking_utils import create_causal_mask, create_sliding_window_causal_mask

import forward
import llama_gguf

# name, seed, window (None, number or list), pattern, layers, heads, kv heads, head size, hidden,
# ffn, vocabulary, tied, RoPE parameters, prompt lengths where there is no window
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
YARN = {"rope_type": "yarn", "rope_theta": 100.0, "factor": 4.0,
        "original_max_position_embeddings": 512}
PLAIN = {"rope_type": "default", "rope_theta": 10000.0}
MODELS = (
    ("w8-gqa4", 1, 8, None, 3, 4, 1, 16, 64, 32, 256, True, PLAIN),
    ("w16-gqa1", 2, 16, None, 2, 4, 4, 16, 64, 64, 128, False, PLAIN),
    ("w64-gqa8", 3, 64, None, 2, 8, 1, 16, 64, 32, 128, False, PLAIN),
    ("wlist-gqa2", 4, [8, 0, 16, 0], None, 4, 4, 2, 16, 64, 32, 128, True, PLAIN),
    ("wpattern-gqa4", 5, 8, [True, False], 2, 8, 2, 16, 64, 32, 128, True, PLAIN),
    ("full-gqa4", 6, None, None, 2, 4, 1, 32, 64, 32, 128, False, PLAIN),
    ("linear-w16-gqa8", 7, 16, None, 2, 8, 1, 16, 64, 32, 128, True, LINEAR),
    ("llama3-full-gqa4", 8, None, None, 2, 4, 1, 32, 64, 32, 128, True, LLAMA3),
    ("yarn-w16-gqa2", 9, 16, None, 2, 4, 2, 32, 64, 32, 128, True, YARN),
)
MATRICES = ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down")
SHARE = 3e-4     # a tolerance is never above this share of the largest value
DRAWS = 48       # prompts tried a length; the one whose weakest planted error is largest is kept


class Spec:
    def __init__(self, row):
        (self.name, self.seed, self.window, self.pattern, self.layers, self.heads, self.kv_heads,
         self.head_dim, self.hidden, self.ffn, self.vocab, self.tied, self.rope) = row

    def windows(self):
        """One window a layer, 0 for none."""
        if isinstance(self.window, list):
            return tuple(self.window)
        pattern = self.pattern or [True] * self.layers
        return tuple((self.window or 0) if pattern[i] else 0 for i in range(self.layers))

    def lengths(self):
        w = max(self.windows())
        return (w - 1, w, w + 1, 2 * w + 3) if w else (7, 33)

    def config(self, window="own"):
        return MistralConfig(
            vocab_size=self.vocab, hidden_size=self.hidden, intermediate_size=self.ffn,
            num_hidden_layers=self.layers, num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads, head_dim=self.head_dim, rms_norm_eps=1e-5,
            tie_word_embeddings=self.tied, max_position_embeddings=2048,
            sliding_window=max(self.windows()) or None if window == "own" else window,
            rope_parameters=dict(self.rope), attn_implementation="eager",
        )


def checkpoint(spec):
    """A random MistralForCausalLM with peaked attention; F32-exact weights, F64 arithmetic."""
    model = MistralForCausalLM(spec.config()).eval()
    generator = torch.Generator().manual_seed(spec.seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() < 2:
                p.copy_(1 + 0.2 * torch.randn(p.shape, generator=generator))
                continue
            scale = p.shape[1] ** -0.5
            if "q_proj" in name or "k_proj" in name:
                scale *= 2.2
            if "embed" in name:
                scale = 0.35 if spec.tied else 1.0
            p.copy_(scale * torch.randn(p.shape, generator=generator))
    return model.double()


def give_masks(model, spec):
    """Each layer its own mask, made by transformers' mask functions for that layer's window."""
    if len(set(spec.windows())) == 1:
        return
    def hook(layer_config):
        function = (create_sliding_window_causal_mask if layer_config.sliding_window
                    else create_causal_mask)
        def replace(_, args, kwargs):
            hidden = args[0] if args else kwargs["hidden_states"]
            kwargs["attention_mask"] = function(
                config=layer_config, inputs_embeds=hidden, attention_mask=None,
                past_key_values=None, position_ids=kwargs["position_ids"])
            return args, kwargs
        return replace
    for layer, window in zip(model.model.layers, spec.windows()):
        layer.register_forward_pre_hook(hook(spec.config(window or None)), with_kwargs=True)


@torch.no_grad()
def oracle(model, tokens):
    """transformers' logits [n, vocab] and residual streams behind each layer."""
    streams = []
    hooks = [layer.register_forward_hook(
        lambda _, __, out: streams.append((out[0] if isinstance(out, tuple) else out)[0].numpy()))
        for layer in model.model.layers]
    logits = model(torch.tensor(np.asarray(tokens))[None], use_cache=False).logits[0].numpy()
    for hook in hooks:
        hook.remove()
    return logits, streams


def write_model(path, spec, model):
    writer = llama_gguf.new(path, spec.name)
    writer.add_license("apache-2.0")
    llama_gguf.add_hparams(writer, spec.config())
    llama_gguf.add_window(writer, spec.window, spec.pattern)
    kind = spec.rope["rope_type"]
    if kind in ("linear", "yarn"):
        writer.add_rope_scaling_type(RopeScalingType(kind))
        writer.add_rope_scaling_factor(spec.rope["factor"])
    if kind == "yarn":
        writer.add_rope_scaling_orig_ctx_len(spec.rope["original_max_position_embeddings"])
    names = [f"t{i}".encode() for i in range(spec.vocab)]
    names[:3] = b"<unk>", b"<s>", b"</s>"
    types = [TokenType.UNKNOWN, TokenType.CONTROL, TokenType.CONTROL]
    types += [TokenType.NORMAL] * (spec.vocab - 3)
    llama_gguf.add_spm(writer, names, [-float(i) for i in range(spec.vocab)], types)
    state = {name: t.float().numpy() for name, t in model.state_dict().items()}
    for name, array in llama_gguf.tensors(state, spec.layers, spec.heads, spec.kv_heads, spec.tied):
        writer.add_tensor(name, np.ascontiguousarray(array))
    if kind == "llama3":
        plain = spec.rope["rope_theta"] ** (-np.arange(0, spec.head_dim, 2) / spec.head_dim)
        scaled = model.model.rotary_emb.inv_freq.double().numpy()
        writer.add_tensor("rope_freqs.weight", (plain / scaled).astype(np.float32))
    llama_gguf.save(writer)


def read_model(path, spec, model):
    """The written file, as the brute-force pass takes it."""
    tensors = {t.name: t.data.astype(np.float64) for t in GGUFReader(path).tensors}
    rotary = model.model.rotary_emb
    return forward.Model(
        tensors=tensors, layers=spec.layers, heads=spec.heads, kv_heads=spec.kv_heads,
        head_dim=spec.head_dim, eps=1e-5, windows=spec.windows(),
        inverse=rotary.inv_freq.double().numpy(), gain=float(rotary.attention_scaling))


def mistakes(spec, model, length):
    """Pairs (name, broken model) of what can go wrong and can be seen at this prompt length."""
    shortest = min((w for w in spec.windows() if w), default=0)
    if shortest and length > shortest:
        yield "window_plus", forward.change(
            model, windows=tuple(w + 1 if w else 0 for w in model.windows))
    if shortest and length >= shortest:
        yield "window_minus", forward.change(
            model, windows=tuple(w - 1 if w else 0 for w in model.windows))
    if shortest and length > shortest:
        yield "window_ignored", forward.change(model, windows=(0,) * spec.layers)
    if 1 < spec.kv_heads < spec.heads:
        yield "gqa_head", forward.change(model, group_wrong=True)
    yield "rope_pairing", forward.change(model, halves_wrong=True)
    yield "newest_key", forward.change(model, newest_wrong=True)
    if spec.rope["rope_type"] != "default":
        plain = spec.rope["rope_theta"] ** (-np.arange(0, spec.head_dim, 2) / spec.head_dim)
        yield "rope_scaling_ignored", forward.change(model, inverse=plain, gain=1.0)
    if spec.rope["rope_type"] == "yarn":
        yield "yarn_gain_ignored", forward.change(model, gain=1.0)
    for matrix in MATRICES:
        yield "last_k." + matrix, forward.change(model, short=matrix)


def chosen(n):
    """Positions that a golden keeps: all of a short prompt, else the ends and a few between."""
    if n <= 20:
        return np.arange(n)
    few = {0, 1, 2, n // 4, n // 2, n // 2 + 1, *range(n - 8, n)}
    half = (n - 3) // 2
    return np.array(sorted(few | {half - 1, half, half + 1}))


def farthest(a, b, at):
    """Largest differences of two results at positions `at`: of logits, of any stream."""
    streams = max(np.abs(x[at] - y[at]).max() for x, y in zip(a[1], b[1]))
    return np.abs(a[0][at] - b[0][at]).max(), streams


def pick_prompt(spec, model, n, rng):
    """Of DRAWS random prompts the one whose weakest planted error moves the logits most."""
    at, best = chosen(n), (-1.0,)
    for _ in range(DRAWS):
        tokens = np.concatenate(([1], rng.integers(3, spec.vocab, n - 1))).astype(np.int32)
        right = forward.forward(model, tokens)
        found = {name: farthest(right, forward.forward(broken, tokens), at)
                 for name, broken in mistakes(spec, model, n)}
        weakest = min(logit for logit, _ in found.values())
        if weakest > best[0]:
            best = weakest, tokens, found, right
    return best[1:]


def cases(spec, model, brute):
    """Each prompt with transformers' answer, the planted errors, and the brute-force gap."""
    rng = np.random.default_rng(spec.seed)
    for n in spec.lengths():
        tokens, found, right = pick_prompt(spec, brute, n, rng)
        told = oracle(model, tokens)
        yield {"tokens": tokens, "at": chosen(n), "told": told, "planted": found,
               "gap": farthest(told, right, np.arange(n)), "peak": right[2]}


def rounded_down(x):
    digits = 10.0 ** (math.floor(math.log10(x)) - 1)
    return math.floor(x / digits) * digits


def check(spec, found):
    """Tolerances for logits and streams; stops where the golden would not count."""
    planted = {}
    for case in found:
        for name, far in case["planted"].items():
            planted.setdefault(name, []).append(far)
    tolerance = [rounded_down(min(min(f[i] for f in far) for far in planted.values()) / 100)
                 for i in (0, 1)]
    largest = [max(np.abs(c["told"][0]).max() for c in found),
               max(np.abs(x).max() for c in found for x in c["told"][1])]
    tolerance = [min(t, rounded_down(SHARE * top)) for t, top in zip(tolerance, largest)]
    gap = [max(case["gap"][i] for case in found) for i in (0, 1)]
    peak = float(np.median(np.concatenate([c["peak"].ravel() for c in found])))
    print(f"{spec.name}: tolerance {tolerance[0]:.2g} streams {tolerance[1]:.2g} "
          f"gap to brute force {gap[0]:.1e} {gap[1]:.1e} median largest weight {peak:.2f} "
          f"largest {largest[0]:.1f} {largest[1]:.1f} weakest "
          f"{min(planted, key=lambda k: min(f[0] for f in planted[k]))}")
    for i in (0, 1):
        if gap[i] * 10 > tolerance[i]:
            raise SystemExit(f"{spec.name}: transformers and brute force differ by {gap[i]}")
    if peak < 0.5:
        raise SystemExit(f"{spec.name}: attention is not peaked")
    for name, far in planted.items():
        if min(f[0] for f in far) < 100 * tolerance[0] or min(f[1] for f in far) < 100 * tolerance[1]:
            raise SystemExit(f"{spec.name}: planted error {name} is within a hundred tolerances")
    return tolerance, gap, planted, peak


def write_golden(path, spec, found, tolerance, gap, planted, peak):
    writer = GGUFWriter(path, "golden")
    writer.add_string("golden.model", spec.name + ".gguf")
    writer.add_string("golden.made_by", f"transformers {transformers.__version__}, "
                      f"torch {torch.__version__}")
    writer.add_uint32("golden.cases", len(found))
    writer.add_float32("golden.tolerance", tolerance[0])
    writer.add_float32("golden.tolerance_layer", tolerance[1])
    writer.add_float32("golden.gap_brute_force", gap[0])
    writer.add_float32("golden.attention_peak", peak)
    for name, far in planted.items():
        writer.add_float32("planted." + name, min(f[0] for f in far))
        writer.add_float32("planted_layer." + name, min(f[1] for f in far))
    for i, case in enumerate(found):
        logits, streams = case["told"]
        writer.add_tensor(f"case.{i}.tokens", case["tokens"])
        writer.add_tensor(f"case.{i}.positions", case["at"].astype(np.int32))
        writer.add_tensor(f"case.{i}.logits", logits[case["at"]].astype(np.float32))
        for layer, stream in enumerate(streams):
            writer.add_tensor(f"case.{i}.layer.{layer}", stream[case["at"]].astype(np.float32))
    llama_gguf.save(writer)


def make(spec, folder):
    model = checkpoint(spec)
    give_masks(model, spec)
    path = os.path.join(folder, spec.name + ".gguf")
    golden = os.path.join(folder, spec.name + ".golden.gguf")
    write_model(path, spec, model)
    found = list(cases(spec, model, read_model(path, spec, model)))
    write_golden(golden, spec, found, *check(spec, found))
    return os.path.getsize(path) + os.path.getsize(golden)


def main():
    torch.set_num_threads(1)
    folder, wanted = sys.argv[1], sys.argv[2:]
    os.makedirs(folder, exist_ok=True)
    rows = [row for row in MODELS if not wanted or row[0] in wanted]
    print("bytes", sum(make(Spec(row), folder) for row in rows))


if __name__ == "__main__":
    main()
