-- SPDX-License-Identifier: Apache-2.0
-- What modules written in Lua say of arguments, as the functions of the binding say it.
local argument = {}

-- `level` is counted as `error` does, from who calls this. `where` names the function and the argument.
function argument.fail(level, where, expected, got)
  local shown = type(got) == "string" and ('string "%s"'):format(got) or type(got) == "number" and "number " .. got or
    type(got) == "userdata" and tostring(got):match("^[%w.]+") or type(got)
  error(("%s: expected %s, got %s"):format(where, expected, shown), level + 1)
end

-- Also of one that is closed: what is then called says so.
function argument.is_session(value)
  return type(value) == "userdata" and tostring(value):find("^gregale.session %(") ~= nil
end

return argument
