-- SPDX-License-Identifier: Apache-2.0
-- JSON as pipelines want it: gregale.from_json and to_json, raising one line in place of returning nil.
local gregale = require "gregale"
local json = { encode = gregale.to_json }

-- The value; raises one line that says where the text is none.
function json.decode(s)
  local value, why = gregale.from_json(s)
  if why then error("JSON, " .. why, 0) end
  return value
end

-- A list of the elements of `t` (nil: of none) that is written as a list also while it is empty.
function json.list(t)
  return table.move(t or {}, 1, t and #t or 0, 1, gregale.from_json("[]"))
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

return json
