#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
-- A tour in one page: a streamed answer, a fork that answers two questions from one shared prefix, a choice by
-- likelihood, and what it ran on. Usage: gregale script quickstart.lua MODEL.gguf
local gregale = require "gregale"

local path = arg[1] or error("usage: gregale script quickstart.lua MODEL.gguf", 0)
local model = gregale.load{ path, device = "auto" }
local info = model:info()
local chats = info.chat_format ~= "" -- else a base model, which continues plain text

local function heading(text)
  print(("\n== %s"):format(text))
end

-- Continues `session` and prints the text as it comes.
local function answer(session, options)
  local stream = session:stream(options)
  for piece in stream do
    io.write(piece)
    io.flush()
  end
  print()
  return stream:info()
end

heading(("%s: %.0f million parameters, on device %s"):format(
  info.name ~= "" and info.name or path, info.parameters / 1e6, info.device))
if info.notice ~= "" then print(info.notice) end

-- 1. A streamed answer.
heading(chats and "What is the sea?" or "In the beginning ...")
local first = model:session()
if chats then
  first:user("What is the sea? Answer in two sentences.")
else
  first:append("In the beginning")
end
local spent = answer(first, { max_tokens = 80, temperature = 0.7, seed = 7 })

-- 2. Two answers from one shared prefix: the pages of the prefix are held once.
local questions, ask
local prefix = model:session()
if chats then
  prefix:system("You are a sailor. You answer in one short sentence.")
  questions = { "What is a gregale?", "Where do you sleep?" }
  ask = function(fork, question) fork:user(question) end
else
  prefix:append("And it came to pass in those days, that the king spake unto the people, saying,")
  questions = { " Go ye", " I will" }
  ask = function(fork, question) fork:append(question) end
end
if chats then
  prefix:user(questions[1]):apply_turns() -- what both conversations begin with is evaluated here, once
  prefix:evaluate():keep_turns(1)
else
  prefix:evaluate()
end
heading("Two answers at once, from one shared prefix")
local branches = {}
for i, question in ipairs(questions) do
  branches[i] = function()
    local fork <close> = prefix:fork()
    ask(fork, question)
    local text = fork:generate{ max_tokens = 40, temperature = 0.7, seed = i }
    return { text = text, shared = fork:stats().shared_pages, pages = fork:stats().pages }
  end
end
for i, result in ipairs(gregale.parallel(branches)) do
  print(("%s -> %s"):format(questions[i], (result.text:gsub("%s+", " "))))
  print(("   (%d of %d cache pages shared)"):format(result.shared, result.pages))
end

-- 3. A choice by likelihood: no sampling, no parsing.
heading("A choice by likelihood")
local judge = model:session()
local question, options
if chats then
  question, options = "Is the Mediterranean a sea? Answer yes or no.", { "Yes", "No" }
  judge:user(question)
else
  question, options = "And God said, Let there be", { " light", " spoons" }
  judge:append(question)
end
local choice, index, probabilities = judge:choose(options)
print(("%s -> %s (%.0f %%)"):format(question, choice, 100 * probabilities[index]))

-- 4. How fast, where, and why there.
heading("Speed and device")
print(("%.1f tokens per second (%d tokens; the prompt's %d took %.2f s)"):format(
  spent.tokens_per_second or 0, spent.generated_tokens, spent.prompt_tokens, spent.prefill_seconds))
for _, device in ipairs(gregale.devices()) do
  print(("%s %s: %s"):format(device.name == info.device and "*" or " ", device.name, device.why))
end
