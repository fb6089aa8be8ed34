-- SPDX-License-Identifier: Apache-2.0
-- gregale.parallel: branches advance together, errors close the others, anything else blocks and still works.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.model()
local prompts = { "And the king said", "In the beginning", "Blessed are the", "Now the sons of Aaron" }
local greedy = { max_tokens = 12, temperature = 0, ignore_end = true }
local alone = {}
for i, prompt in ipairs(prompts) do alone[i] = model:session():append(prompt):generate(greedy) end

-- The same answers as one after the other, interleaved.
local order, functions = {}, {}
for i, prompt in ipairs(prompts) do
  functions[i] = function()
    local s <close> = model:session():append(prompt)
    local text = {}
    for piece in s:stream(greedy) do
      text[#text + 1] = piece
      order[#order + 1] = i
    end
    return table.concat(text)
  end
end
local results = gregale.parallel(functions)
same(results.n, 4)
for i in ipairs(prompts) do same(results[i], alone[i], "branch " .. i) end
local switches = 0
for k = 2, #order do switches = switches + (order[k] ~= order[k - 1] and 1 or 0) end
assert(switches > 12, "the branches ran one after the other")

-- generate, evaluate, logits and nested parallel yield too; so does a plain yield.
local nested = gregale.parallel{
  function() return model:session():append(prompts[1]):generate(greedy) end,
  function()
    local inner = gregale.parallel{
      function() return model:session():append(prompts[2]):generate(greedy) end,
      function() return (model:session():append(prompts[3]):logits():argmax()) end }
    return inner[1] .. tostring(math.type(inner[2]))
  end,
  function() coroutine.yield() coroutine.yield(1, 2) return model:session():append(prompts[4]):evaluate():stats().positions > 0 end,
  function() end }
same(nested[1], alone[1]); same(nested[2], alone[2] .. "integer"); same(nested[3], true); same(nested[4], nil)
same(gregale.parallel{}.n, 0)

-- Not yieldable, or a coroutine of the script's own: the call blocks and the others go on.
local blocked = gregale.parallel{
  function() return model:session():append(prompts[1]):generate(greedy) end,
  function()
    local text
    table.sort({ 2, 1 }, function(x, y) text = text or model:session():append(prompts[2]):generate(greedy) return x < y end)
    return text
  end,
  function() return coroutine.wrap(function() return model:session():append(prompts[3]):generate(greedy) end)() end }
for i = 1, 3 do same(blocked[i], alone[i], "blocking branch " .. i) end
same(coroutine.wrap(function() return model:session():append(prompts[4]):generate(greedy) end)(), alone[4])

-- An error ends its branch; the others go on, and then it is raised as it was. The model is sound.
local closed = 0
local function scoped()
  local s = model:session():append(prompts[1])
  local mark <close> = setmetatable({}, { __close = function() closed = closed + 1 s:close() end })
  for _ in s:stream{ max_tokens = 9, ignore_end = true } do end
  return true
end
local thrown = {}
local fine, caught = pcall(gregale.parallel, { scoped, function()
  local mark <close> = setmetatable({}, { __close = function() closed = closed + 1 end })
  for _ in model:session():append("x"):stream{ max_tokens = 3, ignore_end = true } do end
  error(thrown)
end, scoped })
same(fine, false); same(caught, thrown); same(closed, 3)
same(model:session():append(prompts[1]):generate(greedy), alone[1])
-- An error caught inside a branch stays there.
local inside = gregale.parallel{ function()
  return (select(2, pcall(function() model:session():append("x"):generate{ choose = function() error("bad", 0) end } end)))
end, functions[2] }
same(inside[1], "bad"); same(inside[2], alone[2])

-- Errors collected: results and errors stand at their branches' numbers.
local collected = gregale.parallel{ functions[1], function() error(thrown) end, scoped, errors = "collect" }
same(collected[1], alone[1]); same(collected[2], nil); same(collected.errors[2], thrown); same(collected[3], true)
same(collected.errors[1], nil); same(collected.n, 3)
same(gregale.parallel{ function() error(nil) end, errors = "collect" }.errors[1], "nil")
raises(function() gregale.parallel{ errors = "ignore" } end, "errors", "raise or collect")
raises(function() gregale.parallel{ function() error("first") end, function() error("second") end } end, "first")

-- map: results in order, never more at once than asked for, elements and their numbers as arguments.
local running, most = 0, 0
local mapped = gregale.map(prompts, function(prompt, i)
  running = running + 1
  most = math.max(most, running)
  local text = model:session():append(prompt):generate(greedy)
  running = running - 1
  return i .. text
end, { concurrency = 2 })
same(mapped.n, 4); same(most, 2)
for i in ipairs(prompts) do same(mapped[i], i .. alone[i]) end
same(#gregale.map({}, print), 0)
local squares = gregale.map({ 1, 2, 3, 4, 5 }, function(x) if x == 3 then error("three") end return x * x end,
  { errors = "collect", concurrency = 1 })
same(squares[5], 25); same(squares[3], nil); assert(squares.errors[3]:find("three", 1, true))
raises(function() gregale.map({ 1 }, 5) end, "f", "function")
raises(function() gregale.map({ 1 }, print, { concurrency = 0 }) end, "concurrency")
