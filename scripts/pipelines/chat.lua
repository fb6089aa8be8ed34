#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
-- A conversation, a line at a time. Usage: gregale script chat.lua MODEL.gguf [SYSTEM PROMPT]
local gregale = require "gregale"

local path = arg[1] or error("usage: gregale script chat.lua MODEL.gguf [SYSTEM PROMPT]", 0)
local model = gregale.load(path)
if model:info().chat_format == "" then
  error(("%s: a model without a chat format; complete.lua continues plain text"):format(path), 0)
end
local chat = model:session{ system = arg[2] }

for line in io.lines() do
  if line ~= "" then
    chat:user(line)
    for piece in chat:stream() do
      io.write(piece)
      io.flush()
    end
    print()
  end
end
