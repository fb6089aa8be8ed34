#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command = require "gregale", require "gregale.command"
local prompt, text = require "gregale.prompt", require "gregale.text"

local options = command.arguments([[
Usage: gregale script best-of-n.lua MODEL.gguf PROMPT [OPTION...]
Writes several answers side by side and prints the one that scores best. PROMPT may be - for standard input.

  --n N             how many answers (default 8)
  --scorer NAME     likelihood: the mean log-probability of the answer's tokens; judge: how likely the model finds
                    "yes" when it is asked whether the answer is good; or a Lua file that returns
                    function(answer, prompt, model) -> number (default likelihood)
  --max-tokens N    most tokens of an answer (default 200)
  --temperature X   of the sampler (default 0.8)
  --seed N          of the first answer (default 1)
  --all             print every answer as one line behind its score, best first
  --device NAME     where the model runs (default auto)]], arg)
local question = options.prompt == "-" and command.read("-") or options.prompt

local model = command.load(options.model, options)
local prefix = model:session()
command.try(prompt.fit, function() prompt.ask(model, prefix, question):evaluate() end)
local scorers = {}

function scorers.likelihood(answer)
  local sum = 0
  for _, x in ipairs(answer.log_probabilities) do sum = sum + x end
  return sum / math.max(#answer.log_probabilities, 1)
end

function scorers.judge(answer)
  local fork <close> = prompt.ask(model, model:session(), ("Question: %s\n\nAnswer: %s\n\nIs this answer correct and clear? yes or no."):format(
    question, answer.text), "Verdict:")
  return select(3, fork:choose(prompt.options(model, { "yes", "no" })))[1]
end

local score = scorers[options.scorer]
if not score then
  local chunk, why = loadfile(options.scorer)
  if not chunk then command.fail(3, "--scorer: %s", why) end
  local own = chunk()
  if type(own) ~= "function" then command.fail(3, "%s: expected a function to be returned, got a %s", options.scorer, type(own)) end
  score = function(answer) return own(answer.text, question, model) end
end

local function answer(number)
  local fork <close> = prefix:fork()
  local written, info = fork:generate{ max_tokens = options.max_tokens, temperature = options.temperature,
    seed = options.seed + number - 1 }
  local result = { number = number, text = text.trim(written), log_probabilities = info.log_probabilities }
  result.score = tonumber(score(result)) or command.fail(3, "%s: expected a number", options.scorer)
  return result
end

local numbers = {}
for i = 1, options.n do numbers[i] = i end
local answers = command.try(prompt.fit, gregale.map, numbers, answer)
table.sort(answers, function(a, b) return a.score > b.score or (a.score == b.score and a.number < b.number) end)
if not options.all then
  command.write(answers[1].text, "\n")
else
  for _, a in ipairs(answers) do command.write(("%.4f\t%s\n"):format(a.score, text.line(a.text))) end
end
