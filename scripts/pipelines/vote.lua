#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command = require "gregale", require "gregale.command"
local prompt, text = require "gregale.prompt", require "gregale.text"

local options = command.arguments([[
Usage: gregale script vote.lua MODEL.gguf QUESTION [OPTION...]
Self-consistency: reasons several times side by side, has every line of reasoning end in a short answer, and prints the
answer that most of them give. QUESTION may be - for standard input.

  --n N             how many (default 9)
  --form REGEX      what an answer looks like (default -?[0-9]{1,12})
  --max-tokens N    most tokens of the reasoning (default 200)
  --temperature X   of the sampler (default 0.7)
  --seed N          of the first (default 1)
  --counts          print every answer and how many gave it, most first
  --show            write the reasoning to standard error
  --device NAME     where the model runs (default auto)]], arg)
local question = options.question == "-" and command.read("-") or options.question

local model = command.load(options.model, options)
local last = { regex = options.form, temperature = 0, max_tokens = 40 }
command.check(2, model, last)
local prefix = model:session()
command.try(prompt.fit, function() prompt.ask(model, prefix, question .. "\nThink step by step.", "Reasoning:"):evaluate() end)

local function reason(number)
  local fork <close> = prefix:fork()
  local seed = options.seed + number - 1
  local reasoning = fork:generate{ max_tokens = options.max_tokens, temperature = options.temperature, seed = seed }
  prompt.ask(model, fork, "So what is the answer? Say nothing but the answer.", "Answer: ")
  local answer = text.trim(fork:generate(last))
  if options.show then io.stderr:write(("%d. %s\n   -> %s\n"):format(number, text.line(reasoning), answer)) end
  return answer
end

local numbers, votes, order = {}, {}, {}
for i = 1, options.n do numbers[i] = i end
for number, answer in ipairs(command.try(prompt.fit, gregale.map, numbers, reason)) do
  if not votes[answer] then
    votes[answer] = { answer = answer, count = 0, first = number }
    order[#order + 1] = votes[answer]
  end
  votes[answer].count = votes[answer].count + 1
end
table.sort(order, function(a, b) return a.count > b.count or (a.count == b.count and a.first < b.first) end)
for i = 1, options.counts and #order or 1 do
  command.write(options.counts and ("%d\t%s\n"):format(order[i].count, order[i].answer) or order[i].answer .. "\n")
end
