-- SPDX-License-Identifier: Apache-2.0
-- Where a generation call stands decides whether it yields to the other branches or blocks; the text is the same.
-- Each case runs in a branch beside one that counts: how often the other one got its turn tells which it was.
local gregale = require "gregale"
local support = require "support"
local raises, same = support.raises, support.same

local model = support.model()
local greedy = { max_tokens = 12, temperature = 0, ignore_end = true }
local function answer(text) return (model:session():append(text or "And the king said"):generate(greedy)) end
local expected = answer()

-- What `f` returned as a branch, and how many turns a branch beside it had meanwhile.
local function beside(f)
  local turns, ended = 0, false
  local results = gregale.parallel{
    function()
      local mark <close> = setmetatable({}, { __close = function() ended = true end })
      return f()
    end,
    function() while not ended do turns = turns + 1 coroutine.yield() end end }
  return results[1], turns
end

local function yields(name, f)
  local text, turns = beside(f)
  same(text, expected, name)
  assert(turns >= greedy.max_tokens, name .. ": expected it to yield, but the other branch had " .. turns .. " turns")
  same(f(), expected, name .. ", outside of branches")
end

-- One turn is what the other branch has while nothing waits: it begins, and finds the first ended.
local function blocks(name, f)
  local text, turns = beside(f)
  same(text, expected, name)
  assert(turns <= 1, name .. ": expected it to block, but the other branch had " .. turns .. " turns")
  same(f(), expected, name .. ", outside of branches")
end

-- ---- What the other branch gains by it: answers of two tokens each, begun and ended while `f` generates twelve
local function gained(f)
  local tokens, ended = 0, false
  local other = model:session():append("In the beginning")
  gregale.parallel{
    function() f() ended = true end,
    function()
      while not ended do tokens = tokens + select(2, other:generate{ max_tokens = 2, ignore_end = true }).generated_tokens end
    end }
  return tokens
end
local while_yielding, while_blocking = gained(answer), gained(coroutine.wrap(function() answer() end))
assert(while_yielding >= 8 and while_yielding <= 16, "tokens gained: " .. while_yielding)
assert(while_blocking <= 2, "tokens gained: " .. while_blocking)

-- ---- Lua calls Lua: it yields
yields("plain", answer)
yields("pcall", function() return select(2, pcall(answer)) end)
yields("pcall in pcall", function() return select(3, pcall(pcall, answer)) end)
yields("pcall of the method itself", function()
  local s = model:session():append("And the king said")
  return select(2, pcall(s.generate, s, greedy))
end)
yields("xpcall", function() return select(2, xpcall(answer, debug.traceback)) end)
yields("a method through select, load and dofile's kin", function()
  return load("local f = ... return (f())")(answer)
end)
yields("tail call", function() return answer("And the king said") end)

local meta = setmetatable({}, {
  __index = function() return answer() end,
  __call = function() return answer() end,
  __add = function() return answer() end,
  __unm = function() return answer() end,
  __concat = function() return answer() end,
  __len = function() return answer() end })
yields("__index", function() return meta.anything end)
yields("__call", function() return meta() end)
yields("__add", function() return meta + 1 end)
yields("__unm", function() return -meta end)
yields("__concat", function() return meta .. "x" end)
yields("__len", function() return #meta end)
yields("__newindex", function()
  local text
  local target = setmetatable({}, { __newindex = function() text = answer() end })
  target.x = 1
  return text
end)
for name, compare in pairs{
  __eq = function(a, b) return a == b end, __lt = function(a, b) return a < b end, __le = function(a, b) return a <= b end } do
  yields(name, function()
    local text
    local both = { [name] = function() text = answer() return true end }
    assert(compare(setmetatable({}, both), setmetatable({}, both)))
    return text
  end)
end
yields("__close", function()
  local text
  do
    local mark <close> = setmetatable({}, { __close = function() text = answer() end })
  end
  return text
end)

-- ---- Iterators
yields("an iterator of the script's own", function()
  local function once(_, i) if i == 0 then return 1, answer() end end
  for _, text in once, nil, 0 do return text end
end)
yields("a stream", function()
  local pieces = {}
  for piece in model:session():append("And the king said"):stream(greedy) do pieces[#pieces + 1] = piece end
  return table.concat(pieces)
end)
yields("a stream called by hand, in pcall", function()
  local stream, text = model:session():append("And the king said"):stream(greedy), ""
  for _, piece in pcall, stream do
    if not piece then break end
    text = text .. piece
  end
  return text
end)
yields("__pairs", function()
  local list = setmetatable({}, { __pairs = function() return function(_, i) if not i then return 1, answer() end end end })
  for _, text in pairs(list) do return text end
end)

-- ---- What reads without generating yields, too, and the readings of all branches share steps
local words = { " go", " let the people go", " in the beginning there was", " no" }
local function start() return model:session():append("And the king said") end
local readings = {
  score = function(text) return (start():score(text or words[2])) end,
  ["score of tokens"] = function(text) return (start():score(model:tokenize(text or words[2]))) end,
  choose = function(text) return table.concat(select(3, start():choose{ text or words[2], " nothing", " at all" }), " ") end,
  ["choose among more than a step takes"] = function(text)
    local options = { text or words[2] }
    for i = 2, 150 do options[i] = " " .. i end
    return (start():choose(options))
  end,
  embed = function(text) return table.concat(start():embed(text or words[2]), " ") end,
  ["embed by the last"] = function(text) return table.concat(start():embed(text or words[2], { pool = "last" }), " ") end,
  anchor = function() return start():anchor() end }
for name, read in pairs(readings) do
  local value, turns = beside(read)
  same(value, read(), name)
  assert(turns >= (name == "anchor" and 1 or 2), name .. ": expected it to yield, but the other branch had " .. turns .. " turns")
  local all, together = beside(function() return gregale.map(words, read) end)
  for i, word in ipairs(words) do same(all[i], read(word), name .. " of" .. word) end
  assert(together <= 3 * turns + 3, ("%s: four took %d turns, one %d"):format(name, together, turns))
end
do -- One that ends early leaves nothing behind.
  local left = start()
  local results = gregale.parallel{
    function()
      local inner = gregale.parallel{ function() error("enough", 0) end, function() return left:score(words[3]) end, errors = "collect" }
      return inner.errors[1]
    end,
    function() return left:choose{ " a", " the" } end }
  same(results[1], "enough"); assert(results[2] == " a" or results[2] == " the")
end

-- ---- C calls Lua back: it cannot yield, and blocks
blocks("table.sort", function()
  local text
  table.sort({ 2, 1 }, function(x, y) text = text or answer() return x < y end)
  return text
end)
blocks("string.gsub", function() return (("x"):gsub("x", function() return answer() end)) end)
blocks("string.gsub and __index", function() return (("x"):gsub("x", meta)) end)
blocks("table.concat and __index", function()
  return table.concat(setmetatable({}, { __index = function() return answer() end, __len = function() return 1 end }))
end)
blocks("ipairs and __index", function()
  local list = setmetatable({}, { __index = function(_, i) if i == 1 then return answer() end end })
  for _, text in ipairs(list) do return text end
end)
blocks("tostring", function() return tostring(setmetatable({}, { __tostring = function() return answer() end })) end)
blocks("load's reader", function()
  local given
  return load(function() if not given then given = true return "return [==[\n" .. answer() .. "]==]" end end)()
end)
blocks("require", function()
  package.preload.answering = function() return answer() end
  package.loaded.answering = nil
  return require "answering"
end)
blocks("xpcall's message handler", function() return select(2, xpcall(error, function() return answer() end, "wrong")) end)
blocks("a finalizer", function()
  local text
  setmetatable({}, { __gc = function() text = answer() end })
  collectgarbage() collectgarbage()
  return text
end)

-- ---- The script's own coroutines: their yields are theirs, so it blocks
blocks("coroutine.wrap", function() return coroutine.wrap(answer)() end)
blocks("coroutine.resume", function() return select(2, coroutine.resume(coroutine.create(answer))) end)
blocks("a generator over a stream", function()
  local text = ""
  local pieces = coroutine.wrap(function()
    for piece in model:session():append("And the king said"):stream(greedy) do coroutine.yield(piece) end
  end)
  for piece in pieces do text = text .. piece end
  return text
end)
blocks("coroutine.wrap in coroutine.wrap", function() return coroutine.wrap(function() return coroutine.wrap(answer)() end)() end)
blocks("parallel in a coroutine", function() return coroutine.wrap(function() return gregale.parallel{ answer }[1] end)() end)
blocks("parallel in table.sort", function()
  local text
  table.sort({ 2, 1 }, function(x, y) text = text or gregale.parallel{ answer }[1] return x < y end)
  return text
end)
-- Blocking stops nobody's answer: what waits is in the same steps.
do
  local steps = model:session():append("In the beginning")
  local texts = gregale.parallel{
    function() return (steps:generate(greedy)) end,
    function() return coroutine.wrap(answer)() end,
    function() return answer() end }
  same(texts[2], expected); same(texts[3], expected)
  same(texts[1], answer("In the beginning"))
end

-- ---- Errors keep their way through all of these
local function wrong() model:session():append("x"):generate{ max_tokens = 0 } end
for _, through in ipairs{
  function() wrong() end,
  function() error(select(2, pcall(wrong)), 0) end,
  function() table.sort({ 2, 1 }, wrong) end,
  function() return ("x"):gsub("x", wrong) end,
  function() coroutine.wrap(wrong)() end,
  function() for _ in wrong do end end,
  function() return setmetatable({}, { __index = wrong }).x end } do
  raises(through, "yields.lua:", "max_tokens", "from 1")
  raises(function() gregale.parallel{ through, answer } end, "yields.lua:", "max_tokens", "from 1")
end
same(answer(), expected)

-- ---- A branch is the scheduler's: resuming or closing it from outside ends it in an error, and nothing else
local function outsider(meddle)
  local thread
  return gregale.parallel{
    function() thread = coroutine.running() return answer() end,
    function() return meddle(thread) end,
    answer, errors = "collect" }
end
local resumed = outsider(function(thread) return select(2, coroutine.resume(thread)) end)
same(resumed[2], expected, "it ran to its end there, blocking")
assert(tostring(resumed.errors[1]):find("dead coroutine", 1, true)); same(resumed[3], expected)
for name, read in pairs(readings) do -- what is passed to it then is not taken for its own
  local thread
  local poked = gregale.parallel{
    function() thread = coroutine.running() return read() end,
    function() return select(2, coroutine.resume(thread, model)) end, errors = "collect" }
  same(poked[2], read(), name)
end
local closed = outsider(function(thread) return coroutine.close(thread) end)
same(closed[2], true)
assert(tostring(closed.errors[1]):find("dead coroutine", 1, true)); same(closed[3], expected)
-- One that resumes itself through another stays where it was.
local circle = gregale.parallel{ function()
  local me = coroutine.running()
  local fine, message = coroutine.wrap(function() return coroutine.resume(me) end)()
  return not fine and message
end, answer }
assert(circle[1]:find("non-suspended", 1, true)); same(circle[2], expected)
