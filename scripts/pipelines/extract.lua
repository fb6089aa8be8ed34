#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command, progress = require "gregale", require "gregale.command", require "gregale.progress"
local json, ordered, prompt = require "gregale.json", require "gregale.ordered", require "gregale.prompt"
local text = require "gregale.text"

local options = command.arguments([[
Usage: gregale script extract.lua MODEL.gguf SCHEMA.json FILE... [OPTION...]
Writes one line of JSON for each file (- for standard input): what it says, in the form of the JSON Schema. Every line
satisfies the schema, whatever the model knows; only for a document without an answer, such as one that the context has
no room for, it is an object with `error`, and the exit code is 1.

  --lines           every line of the files is a document of its own
  --max-tokens N    most tokens of an answer (default 400)
  --temperature X   of the sampler; 0 takes the likeliest token (default 0)
  --seed N          of the sampler (default 1)
  --concurrency N   documents at once (default 8)
  --device NAME     where the model runs (default auto)]], arg)

local schema = command.read(options.schema)
command.try(json.decode, schema)
if not options.file[1] then command.fail(2, "FILE... is missing; see --help") end
local documents = {}
for _, path in ipairs(options.file) do
  for _, document in ipairs(options.lines and command.lines(path) or { command.read(path) }) do
    documents[#documents + 1] = document
  end
end

local model = command.load(options.model, options)
command.check(3, model, { json_schema = schema, max_tokens = options.max_tokens })
local prefix = command.try(prompt.fit, prompt.prepare, model, "I will show you a document. Answer with what it says as JSON of this schema: " .. json.compact(schema))
local bar <close> = progress(#documents, "documents")
local bad = 0
local put = ordered(function(line) command.write(line, "\n") end)
local function answer(document, number)
  local fork <close> = prompt.ask(model, prefix:fork(), text.trim(document), "JSON:")
  return json.compact((fork:generate{ json_schema = schema, max_tokens = options.max_tokens,
    temperature = options.temperature, seed = options.seed + number }))
end
gregale.map(documents, function(document, number)
  local fine, line = command.pcall(prompt.fit, answer, document, number)
  if not fine then bad, line = bad + 1, json.encode{ error = tostring(line) } end
  put(number, line)
  bar:step()
end, { concurrency = options.concurrency })
if bad > 0 then command.fail(1, "%d of %d documents had an error", bad, #documents) end
