#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command = require "gregale", require "gregale.command"

local path = command.arguments([[
Usage: gregale script quickstart.lua MODEL.gguf
A tour in one page: a streamed answer, a fork that answers two questions from one shared prefix, a choice by likelihood,
and what it ran on.]], arg).model
local model = command.load(path)
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

-- 2. Two answers from one shared prefix: it is evaluated once; the forks share its cache's pages.
local passage = chats and [[
Read this. The gregale is a strong and cold wind of the Mediterranean. It blows from the north-east,
mostly in winter, over Malta, Sicily and the Ionian Sea. It lasts a day or two, seldom five, and
raises a heavy swell that closes the harbours which are open to it. The ship that carried Paul to
Rome was lost in such a wind.]]
  or [[And it came to pass in those days, when the king was gone forth out of the city, that all the
people were gathered together unto him, from the least unto the greatest, both men and women, with
their flocks and with their herds; and they stood before the king at the gate, and the king lifted
up his voice, and spake unto them, saying,]]
local questions = chats and { "Where does the gregale blow from?", "Which ship was lost in it?" }
  or { " Go ye", " I will" }
local prefix = model:session()
if chats then prefix:user(passage) else prefix:append(passage) end
prefix:evaluate()

heading("Two answers at once, from one shared prefix")
local branches = {}
for i, question in ipairs(questions) do
  branches[i] = function()
    local fork <close> = prefix:fork()
    local cache = fork:stats()
    if chats then
      fork:assistant("I have read it. What would you like to know?"):user(question)
    else
      fork:append(question)
    end
    local text = fork:generate{ max_tokens = 40, temperature = 0.7, seed = i }
    return { text = text:gsub("%s+", " "), pages = cache.shared_pages, positions = cache.positions }
  end
end
for i, result in ipairs(gregale.parallel(branches)) do
  print(("%s ->%s"):format(questions[i], result.text:gsub("^ ?", " ")))
  print(("   (%d positions taken over, in %d shared pages)"):format(result.positions, result.pages))
end

-- 3. A choice by likelihood: no sampling, no parsing.
heading("A choice by likelihood")
local judge = model:session()
local question, options
if chats then
  question = "What is the capital of France? Answer with its name only."
  options = { "Rome", "Paris", "Madrid" }
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
