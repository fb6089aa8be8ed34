#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local command, prompt = require "gregale.command", require "gregale.prompt"

local options = command.arguments([[
Usage: gregale script chat.lua MODEL.gguf [SYSTEM] [OPTION...]
A conversation: every line of standard input is a turn, the answers go to standard output. SYSTEM is the system prompt.

  --max-tokens N    most tokens of an answer (default 500)
  --temperature X   of the sampler (default 0.7)
  --seed N          of the first answer (default 1)
  --device NAME     where the model runs (default auto)]], arg)

local model = command.load(options.model, options)
if not prompt.chats(model) then
  command.fail(3, "%s: a model without a chat format; complete.lua continues plain text", options.model)
end
local chat, turn = model:session{ system = options.system }, 0

for line in io.lines() do
  if line:find("%S") then
    chat:user(line)
    for piece in chat:stream{ max_tokens = options.max_tokens, temperature = options.temperature, seed = options.seed + turn } do
      command.write(piece)
    end
    command.write("\n")
    turn = turn + 1
  end
end
