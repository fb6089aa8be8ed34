-- SPDX-License-Identifier: Apache-2.0
-- Facts from the v0.2 release: rope base 1e6, context 32768, no window; nothing to restore.
return {
  name = "Mistral-7B-v0.2",
  match = {
    layers = 32, dim = 4096, ffn_dim = 14336, heads = 32, kv_heads = 8, head_dim = 128,
    vocab = { 32000, 32064 }, rope_base = 1000000,
    names = { "mistral-7b-v0-2" },
  },
}
