#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command, progress = require "gregale", require "gregale.command", require "gregale.progress"
local prompt, text, json = require "gregale.prompt", require "gregale.text", require "gregale.json"

local options = command.arguments([[
Usage: gregale script extract.lua MODEL.gguf SCHEMA.json FILE... [OPTION...]
Writes one line of JSON for each file (- for standard input): what it says, in the form of the JSON Schema. Every line
satisfies the schema, whatever the model knows.

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
local prefix = prompt.prepare(model, "I will show you a document. Answer with what it says as JSON of this schema: " .. json.compact(schema))
local bar <close> = progress(#documents, "documents")
local answers = gregale.map(documents, function(document, number)
  local fork <close> = prompt.ask(model, prefix:fork(), text.trim(document), "JSON:")
  local answer = fork:generate{ json_schema = schema, max_tokens = options.max_tokens,
    temperature = options.temperature, seed = options.seed + number }
  bar:step()
  return json.compact(answer)
end, { concurrency = options.concurrency })
command.write(table.concat(answers, "\n"), "\n")
