#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local command, prompt = require "gregale.command", require "gregale.prompt"

local options = command.arguments([[
Usage: gregale script complete.lua MODEL.gguf TEXT [OPTION...]
Writes the text (- for standard input) and goes on with it.

  --max-tokens N    most tokens that are added (default 100)
  --temperature X   of the sampler (default 0.8)
  --seed N          of the sampler (default 1)
  --stop TEXT       ends the answer; it is not written
  --device NAME     where the model runs (default auto)]], arg)

local text = options.text == "-" and command.read("-") or options.text
local session = command.load(options.model, options):session()
command.try(prompt.fit, session.append, session, text)

command.write(text)
for piece in session:stream{ max_tokens = options.max_tokens, temperature = options.temperature, seed = options.seed,
  stop = options.stop, raw = true } do
  command.write(piece)
end
command.write("\n")
