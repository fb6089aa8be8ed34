# SPDX-License-Identifier: Apache-2.0
"""Write a Mistral checkpoint as GGUF the way converters do: architecture "llama".

Converters store the rows of Q and K reordered, so that a RoPE over neighbouring pairs (2i, 2i+1)
does what the checkpoint's RoPE over half-split pairs (i, i + d/2) does. `permute` is that order.
"""

import numpy as np
from gguf import GGMLQuantizationType, GGUFValueType, GGUFWriter, quants

LAYER_NAMES = (
    ("attn_norm", "input_layernorm"), ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"), ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"), ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"), ("ffn_up", "mlp.up_proj"), ("ffn_down", "mlp.down_proj"),
)


def permute(weight, heads):
    """Rows of a [heads * d, columns] projection: half-split pairs to neighbouring pairs."""
    rows, columns = weight.shape
    split = weight.reshape(heads, 2, rows // heads // 2, columns)
    return np.ascontiguousarray(split.swapaxes(1, 2)).reshape(rows, columns)


def tensors(state, layers, heads, kv_heads, tied):
    """Pairs (GGUF name, F32 array) of a MistralForCausalLM state dict of numpy arrays."""
    yield "token_embd.weight", state["model.embed_tokens.weight"]
    for index in range(layers):
        for ours, theirs in LAYER_NAMES:
            weight = state[f"model.layers.{index}.{theirs}.weight"]
            if ours in ("attn_q", "attn_k"):
                weight = permute(weight, heads if ours == "attn_q" else kv_heads)
            yield f"blk.{index}.{ours}.weight", weight
    yield "output_norm.weight", state["model.norm.weight"]
    if not tied:
        yield "output.weight", state["lm_head.weight"]


def add_window(writer, window, pattern=None):
    """The window: a number, or a list with one number a layer (0 is no window); none if None."""
    key = "llama.attention.sliding_window"
    if isinstance(window, list):
        writer.add_key_value(key, window, GGUFValueType.ARRAY, GGUFValueType.UINT32)
    elif window:
        writer.add_uint32(key, window)
    if pattern:
        writer.add_sliding_window_pattern(pattern)


def add_hparams(writer, c):
    """The architecture keys; `c` has the fields of transformers' MistralConfig."""
    writer.add_context_length(c.max_position_embeddings)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_key_length(c.head_dim)
    writer.add_value_length(c.head_dim)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_dimension_count(c.head_dim)
    writer.add_rope_freq_base(c.rope_parameters["rope_theta"])
    writer.add_vocab_size(c.vocab_size)


def add_spm(writer, tokens, scores, types):
    """A SentencePiece vocabulary as converters write Llama's; 0 unknown, 1 begin, 2 end."""
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list(tokens)
    writer.add_token_scores(scores)
    writer.add_token_types(types)
    writer.add_unk_token_id(0)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(True)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(True)


def add_tensor(writer, name, array, dtype):
    """One weight in `dtype`; vectors stay F32."""
    array = np.ascontiguousarray(array, dtype=np.float32)
    if array.ndim < 2 or dtype == GGMLQuantizationType.F32:
        writer.add_tensor(name, array)
    else:
        writer.add_tensor(name, quants.quantize(array, dtype), raw_dtype=dtype)


def save(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def new(path, name):
    writer = GGUFWriter(path, "llama")
    writer.add_name(name)
    return writer
