#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command, progress = require "gregale", require "gregale.command", require "gregale.progress"
local prompt, text = require "gregale.prompt", require "gregale.text"

local options = command.arguments([[
Usage: gregale script summarise.lua MODEL.gguf FILE [OPTION...]
Summarises a text of any length (- for standard input): its parts side by side, then the summaries together, until one
part is left. All parts are read behind one prefix that is evaluated once.

  --part N          most tokens of a part, as far as the context has room for them (default 1000)
  --max-tokens N    most tokens of a summary (default 120)
  --temperature X   of the sampler; 0 takes the likeliest token (default 0)
  --seed N          of the sampler (default 1)
  --concurrency N   parts at once (default 8)
  --device NAME     where the model runs (default auto)]], arg)

local content = command.read(options.file)
local model = command.load(options.model, options)
local trained = model:info().context_train
local context = trained > 0 and math.min(trained, 4096) or 4096
local prefix = prompt.prepare(model, "I will show you a part of a text. Answer with a summary of it in two sentences.",
  { context = context })

-- The most tokens of a part that leave room for its summary; some more, as tokens of joined texts do not quite add up.
local function room()
  local frame <close> = prompt.ask(model, prefix:fork(), "x", "Summary:"):apply_turns()
  local left = context - #frame - 16
  if options.max_tokens > left // 4 then -- parts of less than three summaries need not become fewer
    command.fail(2, "--max-tokens: expected at most %d with a context of %d", left // 4, context)
  end
  return left - options.max_tokens
end

local function summary(part, number)
  local fork <close> = prompt.ask(model, prefix:fork(), text.trim(part), "Summary:")
  return text.line(fork:generate{ max_tokens = options.max_tokens, temperature = options.temperature,
    seed = options.seed + number, stop = not prompt.chats(model) and "\n" or nil })
end

local most = room()
local size = math.min(options.part, most)
repeat
  local parts = text.parts(model, content, size)
  if #parts == 0 then command.fail(3, "%s: there is nothing to summarise", options.file) end
  local bar <close> = progress(#parts, "parts")
  local summaries = command.try(prompt.fit, gregale.map, parts, function(part, number)
    local result = summary(part, number)
    bar:step()
    return result
  end, { concurrency = options.concurrency })
  local before = #content
  content = table.concat(summaries, "\n")
  if #content >= before then size = math.min(size * 2, most) end -- no shorter: in fewer parts, so that it ends
until #parts == 1
command.write(content, "\n")
