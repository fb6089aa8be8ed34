-- SPDX-License-Identifier: Apache-2.0
-- A pipeline as a command of a shell: its usage text defines its arguments, results go to standard output, an error is
-- one line on standard error. Exit codes: 0 done, 1 a part of the work failed, 2 wrong arguments, 3 bad input.
local gregale, text = require "gregale", require "gregale.text"
local command = {}

local name = (arg and arg[0] or "script"):match("([^/]-)%.?l?u?a?$")

-- Ends the program with that exit code and one line. Models are closed first, unless a branch of gregale.parallel calls.
-- A sandboxed script cannot: it raises the line.
function command.fail(code, format, ...)
  local line = name .. ": " .. format:format(...):gsub("\n", " ")
  if not os then error(line, 0) end
  io.stderr:write(line, "\n")
  os.exit(code, select(2, coroutine.running()))
end

local function misused(format, ...)
  command.fail(2, format .. "; see --help", ...)
end

-- pcall, but an interruption ends the whole.
function command.pcall(f, ...)
  local results = table.pack(pcall(f, ...))
  if not results[1] and gregale.interrupted(results[2]) then error(results[2], 0) end
  return table.unpack(results, 1, results.n)
end

-- Calls f. An error that somebody's input made, as the modules of this library raise them, has no place in a script in
-- front: it ends the program with code 3. Others go on.
function command.try(f, ...)
  local results = table.pack(command.pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = tostring(results[2])
  if message:find("^[^\n:]+:%d+: ") then error(results[2], 0) end
  command.fail(3, "%s", message)
end

-- ---- Arguments

-- "--words N  most words (default 100)", perhaps over more than one line: N is a whole number from 1, X any from 0,
-- another word in capitals text; none: a flag.
local function declared(usage)
  local known, values = {}, {}
  for block in (usage .. "\n  --"):gsub("\n  %-%-", "\0--"):gmatch("%z%-%-([^%z]+)") do
    local option, kind = block:match("^([%w-]+) ?(%u*)")
    local key, default = option:gsub("-", "_"), text.line(block):match("%(default ([^)]+)%)")
    known[option] = { key = key, kind = kind }
    values[key] = (kind == "N" or kind == "X") and tonumber(default) or default
  end
  return known, values
end

-- MODEL.gguf FILE... [TEXT] of the usage line: names, whether each must be there, and whether it takes all that is left.
local function places(usage)
  local list = {}
  for word in usage:match("^Usage: [^\n]-%.lua([^\n]*)"):gmatch("%S+") do
    local key = word:match("%u+"):lower()
    if key ~= "option" then
      list[#list + 1] = { key = key, word = word, needed = word:sub(1, 1) ~= "[", many = word:find("...", 1, true) }
    end
  end
  return list
end

local function value_of(option, kind, value)
  if not value then misused("--%s needs a value", option) end
  if kind ~= "N" and kind ~= "X" then return value end
  local number = tonumber(value)
  if kind == "N" then number = math.tointeger(number) end
  if not number or number < (kind == "N" and 1 or 0) or number ~= number then
    misused("--%s: expected a %s, got '%s'", option, kind == "N" and "whole number from 1" or "number from 0", value)
  end
  return number
end

-- The values of `arguments` by name, as `usage` describes them: positional ones in small letters without extension
-- ("MODEL.gguf" is `model`, "FILE..." a list `file`), options with underscores. Prints help, or ends with code 2.
function command.arguments(usage, arguments)
  local known, values = declared(usage)
  local words, at, plain = {}, 1, false
  while at <= #arguments do
    local word = arguments[at]
    local option, value = word:match("^%-%-([%w-]+)=(.*)$")
    option = option or word:match("^%-%-([%w-]+)$")
    if not plain and (word == "-h" or option == "help") then io.write(usage, "\n") os.exit(0, true) end
    if plain or word == "-" or word:sub(1, 1) ~= "-" then
      words[#words + 1] = word
    elseif word == "--" then
      plain = true
    else
      local found = known[option] or misused("unknown option '%s'", word)
      if found.kind == "" then
        if value then misused("--%s takes no value", option) end
        values[found.key] = true
      else
        if not value then at = at + 1 value = arguments[at] end
        values[found.key] = value_of(option, found.kind, value)
      end
    end
    at = at + 1
  end
  for _, place in ipairs(places(usage)) do
    if place.needed and not words[1] then misused("%s is missing", place.word) end
    if place.many then
      values[place.key], words = words, {}
    else
      values[place.key] = table.remove(words, 1)
    end
  end
  if words[1] then misused("one argument too many: '%s'", words[1]) end
  return values
end

-- ---- Input and output

-- Ends the program with that code when answers cannot have these options: before there is work that would be lost.
function command.check(code, model, options)
  local session <close> = model:session():append("x")
  local fine, stream = command.pcall(session.stream, session, options)
  if fine then return stream:close() end
  command.fail(code, "%s", (tostring(stream):gsub("^.-session:stream: ", "")))
end

-- The model at `path`, on the device that is wanted; ends with code 3 when there is none, with 2 when no model takes what
-- `options` say of answers.
function command.load(path, options)
  options = options or {}
  local fine, model = command.pcall(gregale.load, { path, device = options.device, context = options.context })
  if not fine then command.fail(3, "%s", (tostring(model):gsub("^.-gregale%.load: ", ""))) end
  command.check(2, model, { max_tokens = options.max_tokens, temperature = options.temperature, seed = options.seed,
                            stop = options.stop })
  return model
end

-- All of a file; "-": of standard input.
function command.read(path)
  local file, why = io.stdin, "a sandbox has no standard input"
  if path ~= "-" then file, why = io.open(path, "rb") end
  local content
  if file then content, why = file:read("a") end
  if file and path ~= "-" then file:close() end
  if content then return content end
  if why:sub(1, #path) == path then why = why:sub(#path + 3) end
  command.fail(3, "cannot read %s: %s", path, why)
end

-- Its lines, without those that are blank.
function command.lines(path)
  local lines = {}
  for line in command.read(path):gmatch("[^\r\n]+") do
    if line:find("%S") then lines[#lines + 1] = line end
  end
  return lines
end

-- Writes to standard output at once (in a sandbox when it is full, or at the end); a full disk is an error.
function command.write(...)
  local fine, why = io.write(...)
  if fine and io.flush then fine, why = io.flush() end
  if not fine then command.fail(1, "standard output: %s", why) end
end

return command
