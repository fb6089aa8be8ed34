-- SPDX-License-Identifier: Apache-2.0
-- Facts from mistralai/Mistral-7B-v0.1 config.json. GGUF converters write no window for it.
return {
  name = "Mistral-7B-v0.1",
  match = {
    layers = 32, dim = 4096, ffn_dim = 14336, heads = 32, kv_heads = 8, head_dim = 128,
    vocab = { 32000, 32064 }, rope_base = 10000,
    names = { "mistral-7b-v0-1" },
    derivatives = true, -- fine-tunes under other names keep the shape, the rope base and the window
  },
  restore = { sliding_window = 4096 }, -- config.json: sliding_window, on every layer
}
