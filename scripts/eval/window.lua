-- SPDX-License-Identifier: Apache-2.0
-- What a token costs deep in a text beside one whose window is just full: two sessions of one process, in turn, so that
-- what else the machine does meets both.
local gregale, command = require "gregale", require "gregale.command"
local json = require "gregale.json"

local options = command.arguments([[
Usage: gregale script window.lua MODEL.gguf [OPTION...]
Reads random tokens up to the deep place, keeps a fork at the near one, then generates on both in turn.

  --window N        of every layer (default 4096)
  --near N          tokens before those generated (default 4096)
  --deep N          and of the other (default 32704)
  --tokens N        generated in each turn (default 16)
  --rounds N        (default 31)
  --json            one object
  --device NAME     where the model runs (default auto)]], arg)

if options.tokens < 2 then command.fail(2, "--tokens: expected 2 or more") end
local length = options.deep + (options.rounds + 1) * options.tokens + 8
local model = gregale.load{ options.model, device = options.device, sliding_window = options.window, context = length }
local vocab, state = model:info().vocab, 1
local function tokens(count)
  local list = {}
  for i = 1, count do
    state = (state * 1103515245 + 12345) & 0x7fffffff
    list[i] = 3 + (state >> 8) % (vocab - 3)
  end
  return list
end
local deep = model:session():append(tokens(options.near)):evaluate()
local near = deep:fork()
deep:append(tokens(options.deep - options.near)):evaluate()

local function seconds(session)
  local _, info = session:generate{ max_tokens = options.tokens, temperature = 0, ignore_end = true, raw = true }
  return info.decode_seconds / (info.generated_tokens - 1)
end

local ratios = {}
seconds(near) seconds(deep)
for round = 1, options.rounds do
  local a, b
  if round % 2 == 1 then a = seconds(near) end
  b = seconds(deep)
  if round % 2 == 0 then a = seconds(near) end
  ratios[round] = a / b -- of speeds: deep beside near
end
table.sort(ratios)
local function at(part) return ratios[math.max(1, math.ceil(part * #ratios))] end
local result = { ratio = at(0.5), least = at(0.25), most = at(0.75), rounds = #ratios, window = options.window,
  near = options.near, deep = options.deep }
if options.json then
  command.write(json.encode(result), "\n")
else
  command.write(("%.3f times as fast behind %d tokens as behind %d, W=%d (quartiles %.3f to %.3f; %d rounds on %s)\n"):format(
    result.ratio, result.deep, result.near, result.window, result.least, result.most, result.rounds, model:info().device))
end
