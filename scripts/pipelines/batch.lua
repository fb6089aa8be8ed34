#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command, progress = require "gregale", require "gregale.command", require "gregale.progress"
local json, ordered, prompt = require "gregale.json", require "gregale.ordered", require "gregale.prompt"

local options = command.arguments([[
Usage: gregale script batch.lua MODEL.gguf INPUT.jsonl [OUT.jsonl] [OPTION...]
Answers every line of INPUT (- for standard input), an object with `prompt`, or `system` and `prompt`, and perhaps `id`,
`max_tokens`, `temperature`, `seed`, `stop`, `json_schema`, `regex`. The results stand in OUT (standard output) in the
order of INPUT, as they come: `line`, `id`, `text`, `stop_reason`, `generated_tokens`, or `error`. When OUT is there
already, its whole lines are kept and the work goes on behind them. Exit code 1: some line had an error.

  --max-tokens N    where a line does not say (default 200)
  --temperature X   where a line does not say (default 0)
  --concurrency N   lines at once (default 16)
  --device NAME     where the model runs (default auto)]], arg)

-- How many results OUT has; cuts off a line that was not finished.
local function finished(path)
  local file = io.open(path, "rb")
  local content, count, whole = file and file:read("a") or "", 0, 1
  if file then file:close() end
  for line, behind in content:gmatch("([^\n]*)\n()") do
    local fine, result = pcall(json.decode, line)
    if not fine or type(result) ~= "table" or result.line ~= count + 1 then
      command.fail(3, "%s: line %d is not a result of this batch", path, count + 1)
    end
    count, whole = count + 1, behind
  end
  if whole <= #content then
    local kept = assert(io.open(path .. ".part", "wb"))
    assert(kept:write(content:sub(1, whole - 1)) and kept:close() and os.rename(path .. ".part", path))
  end
  return count
end

local lines = command.lines(options.input)
local first = options.out and finished(options.out) or 0
if first > #lines then command.fail(3, "%s: more results than %s has lines", options.out, options.input) end
local out = io.stdout
if options.out then
  local why
  out, why = io.open(options.out, "ab")
  if not out then command.fail(3, "cannot write %s", why) end
end
local model = command.load(options.model, options)

local settings = { "max_tokens", "temperature", "seed", "stop", "json_schema", "regex" }
local function answer(line)
  local job = json.decode(line)
  if type(job) ~= "table" or type(job.prompt) ~= "string" then error("expected an object with a prompt", 0) end
  local session <close> = model:session{ system = job.system }
  prompt.ask(model, session, job.prompt)
  local wanted = { max_tokens = options.max_tokens, temperature = options.temperature }
  for _, key in ipairs(settings) do
    if job[key] ~= nil then wanted[key] = job[key] end
  end
  local text, info = session:generate(wanted)
  return { id = job.id, text = text, stop_reason = info.stop_reason, generated_tokens = info.generated_tokens }
end

local failed = false
local bar <close> = progress(#lines, "lines", first)
local put = ordered(function(result, number)
  result.line = first + number
  failed = failed or result.error ~= nil
  local fine, why = out:write(json.encode(result), "\n")
  if fine then fine, why = out:flush() end
  if not fine then command.fail(1, "cannot write: %s", why) end
end)

gregale.map(table.move(lines, first + 1, #lines, 1, {}), function(line, number)
  local fine, result = command.pcall(answer, line)
  put(number, fine and result or { error = tostring(result) })
  bar:step()
end, { concurrency = options.concurrency })
os.exit(failed and 1 or 0, true)
