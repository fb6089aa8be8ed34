# SPDX-License-Identifier: Apache-2.0
"""Print held-out loss and text written by a trained breeze.

    python3 sample.py TRAINING_DIR [--temperature T] [--seed S] [--tokens N] [PROMPT ...]
"""

import argparse
import math
import os

import sentencepiece
import torch

from model import Breeze, Config, sample, stream_loss


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("directory")
    parser.add_argument("prompt", nargs="*", default=["Genesis 1\nIn the beginning"])
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=160)
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = Breeze(Config()).eval()
    model.load_state_dict(torch.load(os.path.join(args.directory, "breeze.pt")))
    pieces = sentencepiece.SentencePieceProcessor(
        model_file=os.path.join(args.directory, "breeze-spm.model"))
    with open(os.path.join(args.directory, "breeze-heldout.txt"), encoding="ascii") as f:
        text = f.read()
    tokens = [pieces.bos_id(), *pieces.encode(text)]
    loss = stream_loss(model, torch.tensor(tokens))
    print(f"held-out: {len(tokens)} tokens, loss {loss:.4f}, perplexity {math.exp(loss):.2f}, "
          f"bits a byte {loss / math.log(2) * (len(tokens) - 1) / len(text):.3f}")
    for prompt in args.prompt:
        begin = [pieces.bos_id(), *pieces.encode(prompt)]
        out = sample(model, begin, args.tokens, args.temperature, args.seed, pieces.eos_id())
        print("-----\n" + pieces.decode(out))


if __name__ == "__main__":
    main()
