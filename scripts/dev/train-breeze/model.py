# SPDX-License-Identifier: Apache-2.0
"""breeze: the Mistral architecture (Jiang et al. 2023, arXiv:2310.06825) as a small torch module.

Parameter names are those of transformers' MistralForCausalLM, so that a checkpoint of one loads
into the other; `verify.py` shows that both give the same logits.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn


@dataclass(frozen=True)
class Config:
    vocab: int = 2048
    hidden: int = 256
    layers: int = 4
    heads: int = 8
    kv_heads: int = 4
    head_dim: int = 64
    ffn: int = 512
    window: int = 64
    rope_base: float = 10000.0
    rms_eps: float = 1e-5
    context: int = 8192

    def as_dict(self):
        return asdict(self)


class RMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


def linear(rows, columns):
    return nn.Linear(columns, rows, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = c
        self.q_proj = linear(c.heads * c.head_dim, c.hidden)
        self.k_proj = linear(c.kv_heads * c.head_dim, c.hidden)
        self.v_proj = linear(c.kv_heads * c.head_dim, c.hidden)
        self.o_proj = linear(c.hidden, c.heads * c.head_dim)

    def forward(self, x, cos, sin, mask):
        b, t, _ = x.shape
        c = self.c
        q = self.q_proj(x).view(b, t, c.heads, c.head_dim).transpose(1, 2)
        k = self.k_proj(x).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        v = self.v_proj(x).view(b, t, c.kv_heads, c.head_dim).transpose(1, 2)
        y = windowed(rotate(q, cos, sin), rotate(k, cos, sin), v, mask)
        return self.o_proj(y.transpose(1, 2).reshape(b, t, -1))


def window_mask(blocks, window):
    """Visible keys [blocks, window, 2 * window] of `windowed`: 0 <= p - k < window, k >= 0."""
    query = torch.arange(window)[:, None]
    key = torch.arange(2 * window) - window
    seen = ((query - key >= 0) & (query - key < window)).repeat(blocks, 1, 1)
    seen[0] &= key >= 0
    return seen


def with_previous(x):
    """Each block [.., n, w, d] behind the one before it (zeros before the first): [.., n, 2w, d]."""
    before = torch.cat((torch.zeros_like(x[:, :, :1]), x[:, :, :-1]), 2)
    return torch.cat((before, x), 3)


def windowed(q, k, v, mask):
    """Sliding-window attention in blocks of one window: a block sees itself and the one before.

    q [b, heads, t, d]; k and v [b, kv_heads, t, d], t a multiple of the window. Query head h
    reads KV head h / (heads / kv_heads).
    """
    b, heads, t, d = q.shape
    kv, (n, w, _) = k.shape[1], mask.shape
    q = q.reshape(b, kv, heads // kv, n, w, d).transpose(2, 3).reshape(b, kv, n, -1, d)
    k, v = (with_previous(x.reshape(b, kv, n, w, d)) for x in (k, v))
    score = (q * d ** -0.5) @ k.transpose(-1, -2)
    score = score.view(b, kv, n, heads // kv, w, 2 * w).masked_fill(~mask[:, None], -1e9)
    chance = torch.softmax(score.float(), -1).to(v.dtype).view(b, kv, n, -1, 2 * w)
    y = chance @ v
    return y.view(b, kv, n, heads // kv, w, d).transpose(2, 3).reshape(b, heads, t, d)


def rotate(x, cos, sin):
    """RoPE over half-split pairs, the form that transformers' checkpoints are stored for."""
    a, b = x.float().chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1).to(x.dtype)


class MLP(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gate_proj = linear(c.ffn, c.hidden)
        self.up_proj = linear(c.ffn, c.hidden)
        self.down_proj = linear(c.hidden, c.ffn)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Layer(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.self_attn = Attention(c)
        self.mlp = MLP(c)
        self.input_layernorm = RMSNorm(c.hidden, c.rms_eps)
        self.post_attention_layernorm = RMSNorm(c.hidden, c.rms_eps)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x, cos, sin, mask):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin, mask)
        return x + self.dropout(self.mlp(self.post_attention_layernorm(x)))


class Body(nn.Module):
    def __init__(self, c, dropout):
        super().__init__()
        self.embed_tokens = nn.Embedding(c.vocab, c.hidden)
        self.layers = nn.ModuleList(Layer(c, dropout) for _ in range(c.layers))
        self.norm = RMSNorm(c.hidden, c.rms_eps)


class Breeze(nn.Module):
    def __init__(self, c, dropout=0.0):
        super().__init__()
        self.c = c
        self.model = Body(c, dropout)
        self.init_weights()

    def init_weights(self):
        for name, p in self.named_parameters():
            if p.dim() < 2:
                continue
            scale = 0.02
            if name.endswith(("o_proj.weight", "down_proj.weight")):
                scale /= (2 * self.c.layers) ** 0.5
            nn.init.normal_(p, std=scale)

    def forward(self, tokens):
        """Logits [batch, T, vocab] of tokens [batch, T] at positions 0..T-1."""
        c, count = self.c, tokens.shape[1]
        tokens = F.pad(tokens, (0, -count % c.window))
        t = tokens.shape[1]
        inverse = c.rope_base ** (-torch.arange(0, c.head_dim, 2).double() / c.head_dim)
        angle = torch.arange(t).double()[:, None] * inverse
        cos, sin = angle.cos().float(), angle.sin().float()
        mask = window_mask(t // c.window, c.window)
        x = self.model.embed_tokens(tokens)
        for layer in self.model.layers:
            x = layer(x, cos, sin, mask)
        return F.linear(self.model.norm(x[:, :count]), self.model.embed_tokens.weight)


@torch.no_grad()
def stream_loss(model, tokens, block=256):
    """Mean next-token loss over one long sequence [N], every token seen with its full reach.

    Layer l reaches back l * (window - 1) tokens, so blocks that start that far early give the
    same loss as one unbroken pass: RoPE depends on distances alone.
    """
    reach = model.c.layers * (model.c.window - 1)
    total, n = 0.0, tokens.numel() - 1
    for first in range(0, n, block):
        begin, end = max(0, first - reach), min(n, first + block)
        logits = model(tokens[None, begin:end])[0, first - begin:]
        total += F.cross_entropy(logits.float(), tokens[first + 1:end + 1], reduction="sum").item()
    return total / n


@torch.no_grad()
def sample(model, tokens, count, temperature, seed, stop=None):
    """`count` tokens drawn after `tokens` (a list), by temperature alone; 0 is greedy."""
    generator = torch.Generator().manual_seed(seed)
    reach = model.c.layers * (model.c.window - 1) + 1
    tokens = list(tokens)
    for _ in range(count):
        logits = model(torch.tensor([tokens[-reach:]]))[0, -1].float()
        if temperature == 0:
            best = int(logits.argmax())
        else:
            chance = torch.softmax(logits / temperature, -1)
            best = int(torch.multinomial(chance, 1, generator=generator))
        tokens.append(best)
        if best == stop:
            break
    return tokens
