-- SPDX-License-Identifier: Apache-2.0
-- Reads bytes as a small program of calls into the binding: which object, which method, which arguments.
-- Every call may succeed or raise; nothing may crash, and the model must answer afterwards.
local gregale = require "gregale"
gregale.configure{ threads = 1 }
local model = FUZZ_MODEL and gregale.load{ FUZZ_MODEL, device = "ref", context = 40, page_tokens = 16, rewind_reserve = 8 }
local prompt = "In the end"
local healthy = model and model:session():append(prompt):generate{ max_tokens = 2, temperature = 0 }

local names = {
  gregale = { "load", "devices", "why", "configure", "parallel" },
  model = { "info", "tokenize", "detokenize", "is_end", "session" },
  session = { "append", "tokens", "evaluate", "logits", "fork", "rewind", "can_rewind", "anchor", "drop_anchor", "stats",
              "generate", "stream", "choose", "score", "close", "system", "user", "assistant", "tool", "tools", "turns",
              "keep_turns", "apply_turns", "encoder" },
  stream = { "cancel", "text", "info", "close" },
  logits = { "argmax", "top", "log_probability", "is_stale" } }
local keys = { "max_tokens", "temperature", "sampler", "seed", "stop", "ignore_end", "raw", "choose", "append", "system",
               "context", "priority", "encoder", "tools", "special", "parse_control", "render_control", "json", "path",
               "device", "sliding_window", "cache_type", "id", "name", "threads", "unknown" }
local numbers = { 0, -1, 1, 2, 64, 300, 4095, 4096, 1 << 31, 1 << 53, math.maxinteger, math.mininteger, 0.5, -0.0, 1e300,
                  1 / 0, 0 / 0 }

local function run(bytes)
  local at = 1
  local pool = { model, model and model:session() }
  local function byte() at = at + 1 return bytes:byte(at - 1) or 0 end
  local value

  local function options(depth)
    local t = {}
    for _ = 1, byte() % 4 do
      local key = keys[byte() % #keys + 1]
      t[key] = value(depth + 1)
      if key == "context" and math.type(t[key]) == "integer" then t[key] = t[key] % 64 end
    end
    for _ = 1, byte() % 4 do t[#t + 1] = value(depth + 1) end
    return t
  end

  local function callback(depth)
    local result, kind = value(depth + 1), byte() % 5
    return function(first)
      if kind == 0 then error(result) end
      if kind == 1 and first then return (first:argmax()) end
      if kind == 2 then for _, object in ipairs(pool) do
        if object ~= model then pcall(function() object:close() end) end
      end end
      if kind == 3 then collectgarbage() end
      return result
    end
  end

  function value(depth)
    local kind = byte() % 10
    if depth > 4 then kind = kind % 4 end
    if kind == 0 then return nil end
    if kind == 1 then return byte() % 2 == 0 end
    if kind == 2 then return numbers[byte() % #numbers + 1] end
    if kind == 3 then return byte() end
    if kind == 4 or kind == 5 then
      local length = byte() % 24
      at = at + length
      return bytes:sub(at - length, at - 1)
    end
    if kind == 6 then return pool[byte() % (#pool + 1) + 1] end
    if kind == 7 then return callback(depth) end
    return options(depth)
  end

  local function invoke()
    local object = pool[byte() % (#pool + 1) + 1] or gregale
    local kind = object == gregale and "gregale" or tostring(object):match("^gregale%.(%a+)") or "logits"
    local list = names[kind]
    local method = list[byte() % #list + 1]
    local arguments = table.pack(value(0), value(0), value(0))
    local count = byte() % 4
    if kind == "model" and method == "session" and arguments[1] == nil then arguments[1] = { context = 40 } end
    local results
    if kind == "gregale" then
      results = table.pack(gregale[method](table.unpack(arguments, 1, count)))
    else
      results = table.pack(object[method](object, table.unpack(arguments, 1, count)))
    end
    if kind == "session" and method == "stream" then for _ = 1, byte() % 8 do results[1]() end end
    for i = 1, results.n do
      if type(results[i]) == "userdata" and #pool < 12 then pool[#pool + 1] = results[i] end
    end
  end

  while at <= #bytes do
    if byte() % 8 == 0 then
      pcall(gregale.parallel, { invoke, invoke })
    else
      pcall(invoke)
    end
  end
  pool = nil
  collectgarbage()
  if model then
    assert(model:session():append(prompt):generate{ max_tokens = 2, temperature = 0 } == healthy, "the model changed")
  end
end

return run
