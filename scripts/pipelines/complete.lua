#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
-- Continues a text. Usage: gregale script complete.lua MODEL.gguf TEXT [MAX TOKENS]
local gregale = require "gregale"

local path, text = arg[1], arg[2]
if not text then error("usage: gregale script complete.lua MODEL.gguf TEXT [MAX TOKENS]", 0) end
local session = gregale.load(path):session():append(text)

io.write(text)
for piece in session:stream{ max_tokens = tonumber(arg[3]) or 100 } do
  io.write(piece)
  io.flush()
end
print()
