-- SPDX-License-Identifier: Apache-2.0
-- JSON (RFC 8259): json.decode(text), json.encode(value). null is gregale.null; a list that was read, or made by
-- json.list, stays one when it is empty; other empty tables are objects. Members are written in the order of their names.
local gregale = require "gregale"
local json = {}

local List = {}
function json.list(t)
  return setmetatable(t or {}, List)
end

-- ---- Writing

local escapes = { ['"'] = '\\"', ["\\"] = "\\\\", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t" }
local function quote(s)
  return '"' .. s:gsub('[%c"\\\127]', function(c) return escapes[c] or ("\\u%04x"):format(c:byte()) end) .. '"'
end

local function number(n)
  if n ~= n or n == math.huge or n == -math.huge then error("json.encode: JSON has no " .. n, 0) end
  if math.type(n) == "integer" then return tostring(n) end
  for digits = 15, 17 do -- as few as give the same number again
    local written = ("%%.%dg"):format(digits):format(n)
    if tonumber(written) == n or digits == 17 then return written end
  end
end

local encode
local function members(t, depth)
  local names, parts = {}, {}
  for key in pairs(t) do
    if type(key) ~= "string" then error("json.encode: a member's name is a " .. type(key), 0) end
    names[#names + 1] = key
  end
  table.sort(names)
  for i, key in ipairs(names) do parts[i] = quote(key) .. ":" .. encode(t[key], depth) end
  return "{" .. table.concat(parts, ",") .. "}"
end

function encode(value, depth)
  local kind = type(value)
  if value == gregale.null or kind == "nil" then return "null" end
  if kind == "string" then return quote(value) end
  if kind == "number" then return number(value) end
  if kind == "boolean" then return tostring(value) end
  if kind ~= "table" then error("json.encode: a " .. kind .. " has no JSON", 0) end
  if depth > 100 then error("json.encode: nested too deeply", 0) end
  if #value == 0 and getmetatable(value) ~= List then return members(value, depth + 1) end
  local parts = {}
  for i, element in ipairs(value) do parts[i] = encode(element, depth + 1) end
  return "[" .. table.concat(parts, ",") .. "]"
end

function json.encode(value)
  return encode(value, 0)
end

-- JSON text without the white space between its parts.
function json.compact(s)
  local parts, at = {}, 1
  while at <= #s do
    local plain, quoted, stop = s:match('^([^"]*)("?)()', at)
    parts[#parts + 1] = plain:gsub("%s+", "") .. quoted
    if quoted == "" then break end
    at = stop
    repeat -- to the quote that no backslash takes away
      local run, c, behind = s:match('^([^"\\]*)(.?)()', at)
      if c == "\\" then behind, c = behind + 1, s:sub(behind - 1, behind) end
      parts[#parts + 1], at = run .. c, behind
    until c == '"' or c == ""
  end
  return table.concat(parts)
end

-- ---- Reading: every function takes the text and where to begin, and returns the value and where it ended.

local function fail(at, what)
  error(("JSON, character %d: expected %s"):format(at, what), 0)
end

local function skip(s, at)
  return s:match("^[ \t\r\n]*()", at)
end

local plain = { ['"'] = '"', ["\\"] = "\\", ["/"] = "/", b = "\b", f = "\f", n = "\n", r = "\r", t = "\t" }
local function escape(s, at)
  local letter = s:sub(at, at)
  if plain[letter] then return plain[letter], at + 1 end
  local code = tonumber(s:match("^u(%x%x%x%x)", at) or fail(at - 1, "an escape"), 16)
  at = at + 5
  if code & 0xFC00 == 0xD800 then
    local low = tonumber(s:match("^\\u([dD][c-fC-F]%x%x)", at) or fail(at, "the second half of a surrogate pair"), 16)
    code, at = 0x10000 + ((code & 0x3FF) << 10) + (low & 0x3FF), at + 6
  elseif code & 0xFC00 == 0xDC00 then
    fail(at - 6, "a surrogate pair")
  end
  return utf8.char(code), at
end

local function text(s, at)
  local parts = {}
  at = at + 1
  while true do
    local run, stop = s:match('^([^%c"\\]*)()', at)
    parts[#parts + 1] = run
    local c = s:sub(stop, stop)
    if c == '"' then return table.concat(parts), stop + 1 end
    if c ~= "\\" then fail(stop, 'the end of a string, \'"\'') end
    parts[#parts + 1], at = escape(s, stop + 1)
  end
end

local value
local function list(s, at, depth)
  local t = json.list()
  at = skip(s, at + 1)
  if s:sub(at, at) == "]" then return t, at + 1 end
  while true do
    t[#t + 1], at = value(s, at, depth)
    at = skip(s, at)
    local c = s:sub(at, at)
    if c == "]" then return t, at + 1 end
    if c ~= "," then fail(at, "',' or ']'") end
    at = skip(s, at + 1)
  end
end

local function object(s, at, depth)
  local t = {}
  at = skip(s, at + 1)
  if s:sub(at, at) == "}" then return t, at + 1 end
  while true do
    local key
    if s:sub(at, at) ~= '"' then fail(at, "a member's name") end
    key, at = text(s, at)
    at = skip(s, at)
    if s:sub(at, at) ~= ":" then fail(at, "':'") end
    t[key], at = value(s, skip(s, at + 1), depth)
    at = skip(s, at)
    local c = s:sub(at, at)
    if c == "}" then return t, at + 1 end
    if c ~= "," then fail(at, "',' or '}'") end
    at = skip(s, at + 1)
  end
end

local words = { ["true"] = true, ["false"] = false, null = gregale.null }
function value(s, at, depth)
  if depth > 100 then fail(at, "less nesting") end
  local c = s:sub(at, at)
  if c == "{" then return object(s, at, depth + 1) end
  if c == "[" then return list(s, at, depth + 1) end
  if c == '"' then return text(s, at) end
  local word = s:match("^%a+", at)
  if word and words[word] ~= nil then return words[word], at + #word end
  local whole, rest = s:match("^(%-?%d+)()", at)
  if not whole or whole:find("^%-?0%d") then fail(at, "a value") end
  local digits = s:match("^(%.%d+)", rest) or ""
  digits = digits .. (s:match("^[eE][+-]?%d+", rest + #digits) or "")
  return tonumber(whole .. digits), rest + #digits
end

-- The value; raises one line that says where the text is none.
function json.decode(s)
  local result, at = value(s, skip(s, 1), 0)
  at = skip(s, at)
  if at <= #s then fail(at, "the end") end
  return result
end

return json
