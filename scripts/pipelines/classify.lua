#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command, progress = require "gregale", require "gregale.command", require "gregale.progress"
local ordered, prompt, text = require "gregale.ordered", require "gregale.prompt", require "gregale.text"

local options = command.arguments([[
Usage: gregale script classify.lua MODEL.gguf LABELS FILE [OPTION...]
Writes for each line of the file (- for standard input) the likeliest of the labels (separated by commas), its
probability among them and the line, with tabs in between. Nothing is sampled: the labels are compared by likelihood.

  --about TEXT      what the labels say (default Which label fits the text)
  --calibrate       divide by how likely the labels are behind an empty text
  --concurrency N   lines at once (default 16)
  --device NAME     where the model runs (default auto)]], arg)

local labels = text.list(options.labels)
if #labels < 2 then command.fail(2, "LABELS: expected two or more, separated by commas, got '%s'", options.labels) end
local lines = command.lines(options.file)
local model = command.load(options.model, options)
local choices = prompt.options(model, labels)
local prefix = command.try(prompt.fit, prompt.prepare, model, ("%s? Answer with one of: %s."):format(options.about, table.concat(labels, ", ")))

-- The probabilities of the labels among each other.
local function weigh(line)
  local fork <close> = prompt.ask(model, prefix:fork(), "Text: " .. line, "Label:")
  return select(3, fork:choose(choices))
end

local usual = options.calibrate and weigh("N/A")
local bar <close> = progress(#lines, "lines")
local put = ordered(function(result) command.write(result) end)
gregale.map(lines, function(line, number)
  local fine, weights = command.pcall(prompt.fit, weigh, line)
  if not fine then -- one with a place in a script is no fault of the line
    command.fail(tostring(weights):find("^[^\n:]+:%d+: ") and 1 or 3, "line %d: %s", number, tostring(weights))
  end
  local sum, best = 0, 1
  for i in ipairs(weights) do
    if usual then weights[i] = weights[i] / usual[i] end
    sum = sum + weights[i]
    if weights[i] > weights[best] then best = i end
  end
  put(number, ("%s\t%.3f\t%s\n"):format(labels[best], weights[best] / sum, line))
  bar:step()
end, { concurrency = options.concurrency })
