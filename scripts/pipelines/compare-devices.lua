#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local command = require "gregale.command"
local json, prompt, text = require "gregale.json", require "gregale.prompt", require "gregale.text"

local options = command.arguments([[
Usage: gregale script compare-devices.lua MODEL.gguf DEVICES PROMPT [OPTION...]
A and B of two devices (two names, separated by a comma): each continues the prompt (- for standard input) by its
likeliest tokens; then B reads A's answer, and every token's logits are compared. Exit code 1: the answers differ.

  --max-tokens N    most tokens of the answers (default 64)
  --json            the report as one object of JSON]], arg)
local names = text.list(options.devices)
if #names ~= 2 then command.fail(2, "DEVICES: expected two names, separated by a comma, got '%s'", options.devices) end
local question = options.prompt == "-" and command.read("-") or options.prompt

local sides = {}
for i, device in ipairs(names) do
  options.device = device
  local model = command.load(options.model, options)
  local session = model:session()
  command.try(prompt.fit, function() prompt.ask(model, session, question):evaluate() end)
  sides[i] = { model = model, session = session, follower = session:fork() }
end
for _, side in ipairs(sides) do
  side.text, side.info = side.session:generate{ max_tokens = options.max_tokens, temperature = 0 }
end
local tokens, others = sides[1].info.tokens, sides[2].info.tokens

-- Largest difference, Kullback-Leibler divergence of B from A in nats, and whether both find the same token likeliest.
local function apart(a, b)
  local largest, divergence = 0, 0
  for token = 0, #a - 1 do
    largest = math.max(largest, math.abs(a[token] - b[token]))
    local p = a:log_probability(token)
    divergence = divergence + math.exp(p) * (p - b:log_probability(token))
  end
  return largest, divergence, (a:argmax()) == (b:argmax())
end

local report = { a = names[1], b = names[2], tokens = #tokens, largest_difference = 0, divergence = 0, agreed = 0,
  text_a = sides[1].text, text_b = sides[2].text }
for i, token in ipairs(tokens) do
  local a, b = sides[1].follower:logits(), sides[2].follower:logits()
  local largest, divergence, same = apart(a, b)
  if largest > report.largest_difference then report.largest_difference, report.largest_at = largest, i end
  report.divergence = report.divergence + divergence / #tokens
  if same then report.agreed = report.agreed + 1 else report.first_disagreement = report.first_disagreement or i end
  for _, side in ipairs(sides) do side.follower:append(token) end
end
for i = 1, math.max(#tokens, #others) do
  if tokens[i] ~= others[i] then
    report.texts_part_at = i
    break
  end
end
for i, side in ipairs(sides) do report["tokens_per_second_" .. ("ab"):sub(i, i)] = side.info.tokens_per_second end

if options.json then
  command.write(json.encode(report), "\n")
else
  command.write(("A (%s): %s\nB (%s): %s\n"):format(names[1], text.line(sides[1].text), names[2], text.line(sides[2].text)))
  command.write(report.texts_part_at and ("the answers part at token %d\n"):format(report.texts_part_at)
    or ("the answers are the same %d tokens\n"):format(#tokens))
  command.write(("of %d tokens %d have the same likeliest token on both%s\n"):format(#tokens, report.agreed,
    report.first_disagreement and (", the first that has not is %d"):format(report.first_disagreement) or ""))
  command.write(("logits: %.3g apart at most (token %d); divergence of B from A %.3g nats a token\n"):format(
    report.largest_difference, report.largest_at or 0, report.divergence))
  command.write(("tokens per second: %.1f and %.1f\n"):format(report.tokens_per_second_a or 0, report.tokens_per_second_b or 0))
end
os.exit(report.texts_part_at and 1 or 0, true)
