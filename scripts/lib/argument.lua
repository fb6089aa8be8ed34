-- SPDX-License-Identifier: Apache-2.0
-- What modules written in Lua say of arguments, as the functions of the binding say it.
local argument = {}

-- What an argument is, for a message.
function argument.show(value)
  local kind, cut = type(value), 40
  if kind == "number" then return "number " .. value end
  if kind == "boolean" then return tostring(value) end
  if kind == "userdata" then return tostring(value):match("^[%w.]+") or kind end
  if kind ~= "string" then return kind end
  if #value <= cut then return ('string "%s"'):format(value) end
  while cut > 0 and value:byte(cut + 1) & 0xC0 == 0x80 do cut = cut - 1 end -- not in the middle of a character
  return ('string "%s"...'):format(value:sub(1, cut))
end

-- `level` is counted as `error` does, from who calls this. `where` names the function and the argument.
function argument.fail(level, where, expected, got)
  error(("%s: expected %s, got %s"):format(where, expected, argument.show(got)), level + 1)
end

-- Also of one that is closed: what is then called says so.
function argument.is_session(value)
  return type(value) == "userdata" and tostring(value):find("^gregale.session %(") ~= nil
end

return argument
