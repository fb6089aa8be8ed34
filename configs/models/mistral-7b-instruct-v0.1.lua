-- SPDX-License-Identifier: Apache-2.0
-- Facts from mistralai/Mistral-7B-Instruct-v0.1 config.json.
return {
  name = "Mistral-7B-Instruct-v0.1",
  match = {
    layers = 32, dim = 4096, ffn_dim = 14336, heads = 32, kv_heads = 8, head_dim = 128,
    vocab = { 32000, 32064 }, rope_base = 10000,
    names = { "mistral-7b-instruct-v0-1" },
  },
  restore = { sliding_window = 4096 },
}
