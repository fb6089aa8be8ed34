# SPDX-License-Identifier: Apache-2.0
"""A Mistral forward pass in plain numpy F64, read from GGUF, with errors to plant.

It is no oracle: logits.py checks it against transformers, then breaks it on purpose to learn how
far each mistake moves the logits.
"""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Model:
    tensors: dict          # GGUF name -> F64 array, matrices [rows, columns]
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    eps: float
    windows: tuple         # one a layer, 0 is none
    inverse: np.ndarray    # [head_dim / 2] RoPE angle a position
    gain: float = 1.0      # factor on RoPE's cosine and sine (YaRN)
    group_wrong: bool = False    # KV head h % kv_heads
    halves_wrong: bool = False   # pairs (i, i + d/2) on rows stored for (2i, 2i + 1)
    newest_wrong: bool = False   # the newest key (the query's own) is not seen
    short: str = ""              # a matrix whose products leave out the last column


def change(model, **fields):
    return replace(model, **fields)


def norm(x, weight, eps):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) * weight


def product(model, x, name):
    weight = model.tensors[name]
    if model.short and model.short in name:
        x, weight = x[:, :-1], weight[:, :-1]
    return x @ weight.T


def rotate(model, x):
    """RoPE over x [n, heads, d] at positions 0..n-1."""
    angle = np.arange(x.shape[0])[:, None, None] * model.inverse
    cos, sin = np.cos(angle) * model.gain, np.sin(angle) * model.gain
    half = x.shape[-1] // 2
    low, high = (slice(0, half), slice(half, None)) if model.halves_wrong else (
        slice(0, None, 2), slice(1, None, 2))
    out = np.empty_like(x)
    out[..., low] = x[..., low] * cos - x[..., high] * sin
    out[..., high] = x[..., high] * cos + x[..., low] * sin
    return out


def visible(model, n, window):
    distance = np.arange(n)[:, None] - np.arange(n)
    seen = distance >= (1 if model.newest_wrong else 0)
    if window:
        seen &= distance < window
    return seen


def attention(model, x, index):
    """One layer's attention over normed rows x [n, hidden], and each head's largest chance."""
    n, h, kv, d = x.shape[0], model.heads, model.kv_heads, model.head_dim
    name = f"blk.{index}.attn_"
    q = rotate(model, product(model, x, name + "q.weight").reshape(n, h, d))
    k = rotate(model, product(model, x, name + "k.weight").reshape(n, kv, d))
    v = product(model, x, name + "v.weight").reshape(n, kv, d)
    of = np.arange(h) % kv if model.group_wrong else np.arange(h) // (h // kv)
    score = np.einsum("qhd,khd->hqk", q, k[:, of]) / np.sqrt(d)
    seen = visible(model, n, model.windows[index])
    score = np.where(seen, score, -np.inf)
    top = score.max(-1, keepdims=True)
    chance = np.where(seen, np.exp(score - np.where(np.isfinite(top), top, 0)), 0)
    chance /= np.maximum(chance.sum(-1, keepdims=True), 1e-300)
    y = np.einsum("hqk,khd->qhd", chance, v[:, of]).reshape(n, h * d)
    return product(model, y, name + "output.weight"), chance.max(-1)


def forward(model, tokens):
    """Logits [n, vocab], the residual stream behind each layer [layers][n, hidden], and the mean
    over rows with at least four keys of the largest attention weight."""
    t = model.tensors
    x, streams, peaks = t["token_embd.weight"][tokens], [], []
    for index in range(model.layers):
        blk = f"blk.{index}."
        y, peak = attention(model, norm(x, t[blk + "attn_norm.weight"], model.eps), index)
        x = x + y
        z = norm(x, t[blk + "ffn_norm.weight"], model.eps)
        gate, up = product(model, z, blk + "ffn_gate.weight"), product(model, z, blk + "ffn_up.weight")
        x = x + product(model, gate / (1 + np.exp(-gate)) * up, blk + "ffn_down.weight")
        streams.append(x)
        peaks.append(peak[:, 4:])
    head = "output.weight" if "output.weight" in t else "token_embd.weight"
    logits = product(model, norm(x, t["output_norm.weight"], model.eps), head)
    return logits, streams, np.concatenate(peaks, -1)
