-- SPDX-License-Identifier: Apache-2.0
-- Facts from mistralai/Mistral-7B-v0.3 config.json; nothing to restore.
return {
  name = "Mistral-7B-v0.3",
  match = {
    layers = 32, dim = 4096, ffn_dim = 14336, heads = 32, kv_heads = 8, head_dim = 128,
    vocab = { 32768, 32832 }, rope_base = 1000000,
    names = { "mistral-7b-v0-3" },
  },
}
