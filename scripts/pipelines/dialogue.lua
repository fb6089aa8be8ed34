#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local command, prompt = require "gregale.command", require "gregale.prompt"
local text = require "gregale.text"

local options = command.arguments([[
Usage: gregale script dialogue.lua MODEL.gguf OTHER.gguf OPENING [OPTION...]
Two models talk, each on a device of its own; OPENING is what the second says first. The models may be one file.

  --turns N         how many are generated (default 6)
  --first TEXT      whom the first plays: its system prompt
  --second TEXT     whom the second plays
  --devices NAMES   of the two (default auto,auto)
  --max-tokens N    most tokens of a turn (default 80)
  --temperature X   of the samplers (default 0.8)
  --seed N          of the first turn (default 1)]], arg)
local devices = text.list(options.devices)
if #devices ~= 2 then command.fail(2, "--devices: expected two names, separated by a comma, got '%s'", options.devices) end

local speakers = {}
for i, role in ipairs{ "first", "second" } do
  local path = i == 1 and options.model or options.other
  options.device = devices[i]
  local model = command.load(path, options)
  speakers[i] = { model = model, session = model:session{ system = prompt.chats(model) and options[role] or nil } }
  if options[role] and not prompt.chats(model) then speakers[i].session:append(options[role] .. "\n\n") end
end

local said = options.opening
command.write("second: ", said, "\n")
for turn = 1, options.turns do
  local speaker = speakers[(turn - 1) % 2 + 1]
  local chats = prompt.chats(speaker.model)
  command.try(prompt.fit, prompt.ask, speaker.model, speaker.session, said .. (chats and "" or "\n"))
  command.write(turn % 2 == 1 and "first: " or "second: ")
  local stream = speaker.session:stream{ max_tokens = options.max_tokens, temperature = options.temperature,
    seed = options.seed + turn - 1, stop = not chats and "\n" or nil }
  for piece in stream do command.write((piece:gsub("\n+", " "))) end
  said = text.trim(stream:text())
  command.write("\n")
  if not chats and stream:info().stop_reason ~= "text" then speaker.session:append("\n") end -- else it is there
end
