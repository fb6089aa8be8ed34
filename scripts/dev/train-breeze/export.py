# SPDX-License-Identifier: Apache-2.0
"""Export a trained breeze as breeze-f16.gguf and breeze-q8_0.gguf.

    python3 export.py TRAINING_DIR OUTPUT_DIR

TRAINING_DIR is train.py's --out. Vectors (norms) stay F32 in both files.
"""

import os
import sys

import sentencepiece
import torch
from gguf import GGMLQuantizationType, LlamaFileType, TokenType

from model import Config
from verify import hugging_face

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "make-golden"))
import llama_gguf  # noqa: E402


def vocabulary(path):
    """Tokens, scores and types of a SentencePiece model, in GGUF's terms."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=path)
    tokens, scores, types = [], [], []
    for index in range(pieces.vocab_size()):
        kind = TokenType.NORMAL
        if pieces.is_unknown(index):
            kind = TokenType.UNKNOWN
        elif pieces.is_control(index):
            kind = TokenType.CONTROL
        elif pieces.is_byte(index):
            kind = TokenType.BYTE
        tokens.append(pieces.id_to_piece(index).encode("utf-8"))
        scores.append(pieces.get_score(index))
        types.append(kind)
    return tokens, scores, types


def export(source, path, dtype, file_type):
    c = Config()
    state = torch.load(os.path.join(source, "breeze.pt"))
    writer = llama_gguf.new(path, "breeze")
    writer.add_description("A small Mistral-architecture model with a sliding window of 64 tokens")
    writer.add_license("apache-2.0")
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    llama_gguf.add_hparams(writer, hugging_face(c, c.window).config)
    llama_gguf.add_window(writer, c.window)
    llama_gguf.add_spm(writer, *vocabulary(os.path.join(source, "breeze-spm.model")))
    arrays = {name: tensor.float().numpy() for name, tensor in state.items()}
    for name, array in llama_gguf.tensors(arrays, c.layers, c.heads, c.kv_heads, tied=True):
        llama_gguf.add_tensor(writer, name, array, dtype)
    llama_gguf.save(writer)
    print(path, os.path.getsize(path))


def main():
    source, target = sys.argv[1:]
    os.makedirs(target, exist_ok=True)
    for name, dtype, file_type in (
        ("breeze-f16.gguf", GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
        ("breeze-q8_0.gguf", GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
    ):
        export(source, os.path.join(target, name), dtype, file_type)


if __name__ == "__main__":
    main()
