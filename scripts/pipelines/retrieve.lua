#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local command, progress = require "gregale.command", require "gregale.progress"
local prompt, store, text = require "gregale.prompt", require "gregale.store", require "gregale.text"

local options = command.arguments([[
Usage: gregale script retrieve.lua MODEL.gguf STORE.db ACTION [WORD...] [OPTION...]
Answers from local files. The actions: add FILE... cuts files into parts and stores each with its embedding, made by
the model; find QUESTION prints the parts nearest to the question; ask QUESTION answers it from them.

  --part N          most tokens of a part (default 200)
  --top N           how many parts are found (default 3)
  --pool NAME       an embedding is the mean of a part's hidden states, or the last: mean, last (default mean)
  --max-tokens N    most tokens of an answer (default 200)
  --device NAME     where the model runs (default auto)]], arg)
if not ({ add = true, find = true, ask = true })[options.action] then
  command.fail(2, "ACTION: expected add, find or ask, got '%s'; see --help", options.action)
end
if not options.word[1] then command.fail(2, "%s of what? see --help", options.action) end
if options.pool ~= "mean" and options.pool ~= "last" then command.fail(2, "--pool: expected mean or last, got '%s'", options.pool) end

local model = command.load(options.model, options)
local blank = model:session()
local parts = command.try(store.open, options.store, { model = model:info().fingerprint, pool = options.pool },
  function(content) return blank:embed(content, { pool = options.pool }) end)
local question = table.concat(options.word, " ")
local actions = {}

function actions.add()
  for _, path in ipairs(options.word) do
    local pieces = text.parts(model, command.read(path), options.part)
    local bar <close> = progress(#pieces, "parts of " .. path)
    local count = parts:add(path, pieces, function() bar:step() end)
    command.write(("%s: %s\n"):format(path, count > 0 and count .. " parts stored" or "unchanged"))
  end
end

function actions.find()
  for _, part in ipairs(parts:find(question, options.top)) do
    command.write(("%.3f\t%s:%d\t%s\n"):format(part.score, part.path, part.number, text.line(part.content)))
  end
end

function actions.ask()
  local sources, passages = parts:find(question, options.top), {}
  if not sources[1] then command.fail(3, "%s: there is nothing in it yet; add files first", options.store) end
  for i, part in ipairs(sources) do passages[i] = text.trim(part.content) end
  local session = prompt.ask(model, model:session(), ("Answer from these passages alone.\n\n%s\n\nQuestion: %s"):format(
    table.concat(passages, "\n\n"), question), "Answer:")
  for piece in session:stream{ max_tokens = options.max_tokens, temperature = 0, stop = not prompt.chats(model) and "\n" or nil } do
    command.write(piece)
  end
  command.write("\n")
  for i, part in ipairs(sources) do command.write(("[%d] %s:%d (%.3f)\n"):format(i, part.path, part.number, part.score)) end
end

command.try(prompt.fit, actions[options.action])
