#!/usr/bin/env -S gregale script
-- SPDX-License-Identifier: Apache-2.0
local gregale, command = require "gregale", require "gregale.command"
local prompt, text = require "gregale.prompt", require "gregale.text"

local options = command.arguments([[
Usage: gregale script tree-of-thoughts.lua MODEL.gguf PROBLEM [OPTION...]
Searches for a line of thought: every thought that is kept is forked, each fork adds one, the model rates how promising
it is, and the best are kept; the best line of all ends in an answer. PROBLEM may be - for standard input.

  --branches N      thoughts tried behind each that was kept (default 4)
  --keep N          thoughts kept at each depth (default 2)
  --depth N         thoughts in a line (default 3)
  --thought N       most tokens of a thought (default 60)
  --max-tokens N    most tokens of the answer (default 150)
  --temperature X   of thoughts (default 0.8)
  --seed N          of the first thought (default 1)
  --show            write every thought and its rating to standard error
  --device NAME     where the model runs (default auto)]], arg)
local problem = options.problem == "-" and command.read("-") or options.problem

local model = command.load(options.model, options)
local chats = prompt.chats(model)
local root = model:session()
command.try(prompt.fit, function()
  prompt.ask(model, root, problem .. "\nThink one short step at a time; each step is one line.", "Steps:")
  if not chats then root:append("\n") end
  root:evaluate()
end)

-- How likely the model finds yes, behind the line of thought.
local function rate(node)
  local fork <close> = node.session:fork()
  prompt.ask(model, fork, (chats and "" or "\n") .. "Does this lead to the solution? yes or no.", "Verdict:")
  return select(3, fork:choose(prompt.options(model, { "yes", "no" })))[1]
end

local function think(job)
  local session = job.from.session:fork()
  if chats and job.depth > 1 then session:user("Next step.") end
  local thought, info = session:generate{ max_tokens = options.thought, temperature = options.temperature,
    seed = options.seed + job.number, stop = "\n" }
  if not chats and info.stop_reason ~= "text" then session:append("\n") end -- else it is there
  local node = { session = session, thought = text.line(thought), number = job.number }
  node.rating = rate(node)
  return node
end

local kept, number = { { session = root } }, 0
for depth = 1, options.depth do
  local jobs = {}
  for _, from in ipairs(kept) do
    for _ = 1, options.branches do
      jobs[#jobs + 1] = { from = from, depth = depth, number = number }
      number = number + 1
    end
  end
  local nodes = command.try(prompt.fit, gregale.map, jobs, think)
  table.sort(nodes, function(a, b) return a.rating > b.rating or (a.rating == b.rating and a.number < b.number) end)
  for i, node in ipairs(nodes) do
    if options.show then io.stderr:write(("%d %s %.3f %s\n"):format(depth, i <= options.keep and "*" or " ", node.rating, node.thought)) end
    if i > options.keep then node.session:close() nodes[i] = nil end
  end
  kept = nodes
end

local answer = command.try(prompt.fit, function()
  local best = prompt.ask(model, kept[1].session, "Now write the answer.", "Answer:")
  return (best:generate{ max_tokens = options.max_tokens, temperature = 0 })
end)
command.write(text.trim(answer), "\n")
