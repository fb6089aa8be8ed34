#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command, progress = require "gregale", require "gregale.command", require "gregale.progress"
local json, ordered, prompt = require "gregale.json", require "gregale.ordered", require "gregale.prompt"

local options = command.arguments([[
Usage: gregale script batch.lua MODEL.gguf INPUT.jsonl [OUT.jsonl] [OPTION...]
Answers every line of INPUT (- for standard input), an object with `prompt`, or `system` and `prompt`, and perhaps `id`,
`max_tokens`, `temperature`, `seed`, `stop`, `json_schema`, `regex`. The results stand in OUT (standard output) in the
order of INPUT, as they come: `line`, `id`, `text`, `stop_reason`, `generated_tokens`, or `error`. When OUT is there
already, its whole lines are kept and the work goes on behind them. Exit code 1: some line of OUT has an error.

  --max-tokens N    where a line does not say (default 200)
  --temperature X   where a line does not say (default 0)
  --concurrency N   lines at once (default 16)
  --device NAME     where the model runs (default auto)]], arg)

-- What OUT has: how many results, how many bytes they are, how many of a line that was not finished stand behind them,
-- and whether one is an error.
local function finished(path)
  local file = io.open(path, "rb")
  local content, count, whole, failed = file and file:read("a") or "", 0, 0, false
  if file then file:close() end
  for line, behind in content:gmatch("([^\n]*)\n()") do
    local fine, result = pcall(json.decode, line)
    if not fine or type(result) ~= "table" or result.line ~= count + 1 then
      command.fail(3, "%s: line %d is not a result of this batch", path, count + 1)
    end
    count, whole, failed = count + 1, behind - 1, failed or result.error ~= nil
  end
  return count, whole, #content - whole, failed
end

local lines = command.lines(options.input)
local first, whole, torn, failed = 0, 0, 0, false
if options.out then first, whole, torn, failed = finished(options.out) end
if first > #lines or (first == #lines and torn > 0) then
  command.fail(3, "%s: more results than %s has lines", options.out, options.input)
end
-- The file is written on where its whole lines end, so that nothing of it is ever missing and it stays the file it is.
local out = io.stdout
if options.out then
  local why
  out, why = io.open(options.out, "r+b")
  if not out then out, why = io.open(options.out, "ab") end
  if not out then command.fail(3, "cannot write %s", why) end
  out:seek("set", whole)
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

local bar <close> = progress(#lines, "lines", first)
local put = ordered(function(result, number)
  result.line = first + number
  failed = failed or result.error ~= nil
  local line = json.encode(result)
  local fine, why = out:write(line, (" "):rep(torn - #line - 1), "\n") -- covers what it stands on
  torn = 0
  if fine then fine, why = out:flush() end
  if not fine then command.fail(1, "cannot write: %s", why) end
end)

gregale.map(table.move(lines, first + 1, #lines, 1, {}), function(line, number)
  local fine, result = command.pcall(prompt.fit, answer, line)
  put(number, fine and result or { error = tostring(result) })
  bar:step()
end, { concurrency = options.concurrency })
os.exit(failed and 1 or 0, true)
