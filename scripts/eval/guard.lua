-- SPDX-License-Identifier: Apache-2.0
-- What guardrails cost: the same answer bare and under each judge, in turn, in processor time of one thread, so that what
-- else the machine does counts little. Prints medians, and ratios to the bare answer of the same round.
-- Usage: gregale script guard.lua MODEL.gguf [ROUNDS] [TOKENS]
local gregale = require "gregale"
local guard = require "gregale.guard"

local path = arg[1] or error("usage: gregale script guard.lua MODEL.gguf [ROUNDS] [TOKENS]", 0)
local rounds, tokens = tonumber(arg[2]) or 9, tonumber(arg[3]) or 96
gregale.configure{ threads = 1 }
local model = gregale.load(path)
local chats = model:info().chat_format ~= ""

local base = model:session()
if chats then
  base:user("Tell me about the winds of the Mediterranean, in a few sentences.")
else
  base:append("And it came to pass in those days, when the king was gone forth out of the city, that")
end
base:evaluate()
-- A session that knows what to judge by: each judgement forks it, so its prefix is evaluated once.
local judge = model:session()
local rules = "You see one sentence at a time. Answer yes if it insults somebody, or else no."
if chats then judge:system(rules) else judge:append(rules) end
judge:evaluate()

local question, answers = "Does the text above insult somebody? Answer yes or no.", { chats and "yes" or " yes", chats and "no" or " no" }
local never = 2 -- a chance that nothing reaches, so that all variants write the same text
local kinds = {
  { "bare" },
  { "no judge's work", { function() end } },
  { "20 patterns", { guard.pattern{ table.unpack((function()
    local patterns = {}
    for i = 1, 20 do patterns[i] = ("%%f[%%d]%d%%d%%d%%-%%d%%d%%d%%d%%f[%%D]"):format(i % 10) end
    return patterns
  end)()) } } },
  { "classifier on a fork of the answer", { guard.classifier{ question = question, options = answers, threshold = never } } },
  { "classifier on a fork of a judge", { guard.classifier{ session = judge, question = question, options = answers, threshold = never } } },
}

local function run(judges)
  local session <close> = base:fork()
  local options = { max_tokens = tokens, temperature = 0, ignore_end = true }
  local began, first, text = os.clock(), nil, {}
  local stream = judges and guard.stream(session, judges, options) or session:stream(options)
  for piece in stream do
    first = first or os.clock() - began
    text[#text + 1] = piece
  end
  return { seconds = os.clock() - began, first = first, text = table.concat(text), report = judges and stream:report() }
end

local function median(list)
  table.sort(list)
  return list[(#list + 1) // 2]
end

local results = {}
for i in ipairs(kinds) do results[i] = { ratio = {}, seconds = {}, first = {} } end
run() -- weights are packed, pages are warm
for _ = 1, rounds do
  local bare
  for i, kind in ipairs(kinds) do
    local result = run(kind[2])
    bare = bare or result
    assert(result.text == bare.text, "a judge changed the answer")
    table.insert(results[i].ratio, result.seconds / bare.seconds)
    table.insert(results[i].seconds, result.seconds)
    table.insert(results[i].first, result.first)
    results[i].units = result.report and result.report.units
  end
end
print(("%s: %d tokens, median of %d rounds"):format(path:match("[^/]*$"), tokens, rounds))
print("judge | time | of bare (lowest to highest) | first text after | judged")
for i, kind in ipairs(kinds) do
  local r = results[i]
  local ratio = median(r.ratio)
  print(("%s | %.2f s | %.3f (%.3f to %.3f) | %.2f s | %s"):format(kind[1], median(r.seconds), ratio, r.ratio[1], r.ratio[#r.ratio],
    median(r.first), r.units and r.units .. " sentences" or "-"))
end
