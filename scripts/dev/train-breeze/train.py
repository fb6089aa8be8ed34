# SPDX-License-Identifier: Apache-2.0
"""Train breeze: tokenizer, weights, checkpoint. Then run export.py.

    python3 train.py --out DIR [--steps N | --minutes M] [--seed S] [--threads T]

The same seed, steps, threads and torch build give the same weights. --minutes measures the
machine on a throw-away copy first, prints the number of steps it chose, and trains that many:
pass the printed number as --steps to repeat the run.
"""

import argparse
import json
import math
import os
import time

import sentencepiece
import torch
import torch.nn.functional as F

import corpus
from model import Breeze, Config, stream_loss

BATCH, LENGTH = 16, 256
PEAK, FLOOR, WARMUP = 3e-3, 0.03, 150


def train_tokenizer(texts, prefix):
    """A SentencePiece BPE model of 2048 pieces with byte fallback, shaped as Llama's."""
    plain = prefix + ".txt"
    with open(plain, "w", encoding="ascii") as f:
        f.writelines(texts)
    sentencepiece.SentencePieceTrainer.train(
        input=plain, model_prefix=prefix, model_type="bpe", vocab_size=Config().vocab,
        byte_fallback=True, unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=True, split_digits=True, character_coverage=1.0,
        max_sentence_length=16384, num_threads=1, minloglevel=2,
    )
    os.remove(plain)
    return sentencepiece.SentencePieceProcessor(model_file=prefix + ".model")


def encode(pieces, texts):
    """All texts as one token sequence: beginning mark, text, end mark, for each."""
    out = []
    for text in texts:
        out += [pieces.bos_id(), *pieces.encode(text), pieces.eos_id()]
    return torch.tensor(out)


def rate(step, steps):
    """The learning rate: linear warm-up, then a cosine down to FLOOR of the peak."""
    if step < WARMUP:
        return PEAK * (step + 1) / WARMUP
    along = (step - WARMUP) / max(1, steps - WARMUP)
    return PEAK * (FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * along)))


def make(seed, dropout):
    torch.manual_seed(seed)
    model = Breeze(Config(), dropout)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    return model, torch.optim.AdamW(groups, lr=PEAK, betas=(0.9, 0.95))


def one_step(model, optimizer, tokens, generator, half):
    first = torch.randint(tokens.numel() - LENGTH, (BATCH,), generator=generator)
    rows = tokens[first[:, None] + torch.arange(LENGTH + 1)]
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits = model(rows[:, :-1])
    loss = F.cross_entropy(logits.float().flatten(0, 1), rows[:, 1:].flatten())
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return loss.item()


def calibrate(minutes, tokens, seed, half):
    """How many steps fit into `minutes`, by timing a throw-away model."""
    model, optimizer = make(seed, 0.1)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(4):
        one_step(model, optimizer, tokens, generator, half)
    begin, count = time.monotonic(), 20
    for _ in range(count):
        one_step(model, optimizer, tokens, generator, half)
    each = (time.monotonic() - begin) / count
    return max(WARMUP + 1, int(minutes * 60 / each)), each


def train(args):
    torch.set_num_threads(args.threads)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    os.makedirs(args.out, exist_ok=True)
    texts, held = corpus.split()
    with open(os.path.join(args.out, "breeze-heldout.txt"), "w", encoding="ascii") as f:
        f.write("\n".join(held))
    pieces = train_tokenizer(texts, os.path.join(args.out, "breeze-spm"))
    tokens, held_tokens = encode(pieces, texts), encode(pieces, held)
    print(f"training tokens {tokens.numel()} held-out tokens {held_tokens.numel()}", flush=True)
    half, steps = args.precision == "bf16", args.steps
    if steps is None:
        steps, each = calibrate(args.minutes, tokens, args.seed, half)
        print(f"{each:.3f} s a step: repeat this run with --steps {steps}", flush=True)
    model, optimizer = make(args.seed, args.dropout)
    print(f"parameters {sum(p.numel() for p in model.parameters())} steps {steps}", flush=True)
    generator, begin, smooth, record = torch.Generator().manual_seed(args.seed), time.time(), 0, []
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = rate(step, steps)
        loss = one_step(model, optimizer, tokens, generator, half)
        smooth = loss if step == 0 else 0.98 * smooth + 0.02 * loss
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step} loss {smooth:.4f} seconds {time.time() - begin:.0f}", flush=True)
        if (step + 1) % 500 == 0 or step == steps - 1:
            model.eval()
            held_loss = stream_loss(model, held_tokens[:8192] if step < steps - 1 else held_tokens)
            model.train()
            record.append({"step": step + 1, "train": smooth, "held_out": held_loss})
            print(f"step {step + 1} held-out loss {held_loss:.4f}", flush=True)
            torch.save(model.state_dict(), os.path.join(args.out, "breeze.pt"))
    facts = {
        "config": Config().as_dict(), "steps": steps, "seed": args.seed, "batch": BATCH,
        "length": LENGTH, "precision": args.precision, "dropout": args.dropout,
        "threads": args.threads, "seconds": time.time() - begin, "torch": torch.__version__,
        "sentencepiece": sentencepiece.__version__, "training_tokens": tokens.numel(),
        "held_out_tokens": held_tokens.numel(), "losses": record,
    }
    with open(os.path.join(args.out, "breeze.json"), "w", encoding="ascii") as f:
        json.dump(facts, f, indent=1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--seed", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--dropout", type=float, default=0.1)
    parser.add_argument("--precision", choices=("f32", "bf16"), default="bf16")
    train(parser.parse_args())


if __name__ == "__main__":
    main()
