# SPDX-License-Identifier: Apache-2.0
"""What llama.cpp says of SmolLM2-135M-Instruct, teacher-forced over 64 steps.

    python3 smollm2.py F32.gguf Q4_1.gguf OUTPUT.gguf

F32.gguf is to_f32.py's copy of Q4_1.gguf. The forced tokens are llama.cpp's greedy answer from the
F32 file; both files are asked about the same tokens.
"""

import hashlib
import sys

import llama_cpp
import numpy as np

from container import Golden

STEPS = 64
TOP_F32, TOP_Q4 = 10, 32
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face" \
         "<|im_end|>\n"
PROMPTS = (
    SYSTEM + "<|im_start|>user\nWhat is a gregale, and where does it blow?<|im_end|>\n"
    "<|im_start|>assistant\n",
    "The lighthouse keeper climbed the stairs once more, counting each of the 112 steps, and",
    SYSTEM + "<|im_start|>user\nWrite a C function that returns the largest of three integers."
    "<|im_end|>\n<|im_start|>assistant\n",
)
GGML_F32 = 0


def load(path):
    return llama_cpp.Llama(path, n_ctx=256, n_batch=256, n_ubatch=256, n_threads=2, logits_all=True,
                           type_k=GGML_F32, type_v=GGML_F32, flash_attn=False, verbose=False,
                           use_mmap=True, seed=1)


def logits(model, tokens):
    """Logits [n, vocab] at each position of one pass over tokens."""
    model.reset()
    model.eval(list(tokens))
    return np.array(model.scores[:len(tokens)], dtype=np.float64)


def greedy(model, prompt):
    """The prompt's tokens and STEPS more, each the likeliest."""
    tokens = model.tokenize(prompt.encode("utf-8"), add_bos=False, special=True)
    count = len(tokens)
    model.reset()
    model.eval(tokens)
    for _ in range(STEPS):
        tokens.append(int(np.argmax(model.scores[len(tokens) - 1])))
        model.eval(tokens[-1:])
    return tokens, count


def log_softmax(x):
    top = x.max(-1, keepdims=True)
    return x - top - np.log(np.exp(x - top).sum(-1, keepdims=True))


def steps(model, tokens, count):
    """Log-probabilities [STEPS, vocab]: row s is of forced token s, given all before it."""
    return log_softmax(logits(model, tokens[:-1])[count - 1:])


def best(chances, top):
    ids = np.argsort(-chances, -1, kind="stable")[:, :top]
    return ids, np.take_along_axis(chances, ids, -1)


def digest(path):
    with open(path, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest()


def main():
    full_path, small_path, target = sys.argv[1:]
    golden = Golden(target, f"llama-cpp-python {llama_cpp.__version__}")
    golden.text("golden.f32_sha256", digest(full_path))
    golden.text("golden.q4_1_sha256", digest(small_path))
    golden.number("golden.cases", len(PROMPTS))
    golden.number("golden.tolerance", 0.01)
    full, small = load(full_path), load(small_path)
    for i, prompt in enumerate(PROMPTS):
        tokens, count = greedy(full, prompt)
        wide, narrow = steps(full, tokens, count), steps(small, tokens, count)
        key = f"case.{i}."
        golden.text(key + "prompt", prompt)
        golden.number(key + "prompt_tokens", count)
        golden.array(key + "tokens", tokens, np.int32)
        for name, chances, top in (("f32", wide, TOP_F32), ("q4_1", narrow, TOP_Q4)):
            ids, values = best(chances, top)
            golden.array(f"{key}{name}.ids", ids, np.int32)
            golden.array(f"{key}{name}.log_probabilities", values, np.float32)
        kl = (np.exp(wide) * (wide - narrow)).sum(-1).mean()
        same = (wide.argmax(-1) == narrow.argmax(-1)).mean()
        ids, _ = best(wide, TOP_F32)
        gap = np.abs(np.take_along_axis(wide - narrow, ids, -1)).max()
        golden.number(key + "llama_kl_f32_q4_1", float(kl))
        golden.number(key + "llama_top1_f32_q4_1", float(same))
        print(f"{i}: {count} prompt tokens; llama.cpp's Q4_1 against its F32: top-1 {same:.3f} "
              f"KL {kl:.2e}, top 10 within {gap:.3f}")
        print(repr(full.detokenize(tokens[count:]).decode("utf-8", "replace")))
    golden.save()


if __name__ == "__main__":
    main()
