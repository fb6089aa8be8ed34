-- SPDX-License-Identifier: Apache-2.0
-- Texts: trimmed, split, cut into parts that fit a model.
local text = {}

function text.trim(s)
  return s:match("^%s*(.-)%s*$")
end

-- One line: every run of white space becomes a space.
function text.line(s)
  return text.trim((s:gsub("%s+", " ")))
end

-- "a, b" -> { "a", "b" }
function text.list(s)
  local list = {}
  for word in s:gmatch("[^,]+") do
    if word:find("%S") then list[#list + 1] = text.trim(word) end
  end
  return list
end

-- Pieces that end where a paragraph, line, sentence or word does; together they are `s`.
local borders = { "\n%s*\n%s*()", "\n()", "[.!?]['\")]*%s+()", "%s+()" }
local function pieces(s, border)
  local list, from = {}, 1
  for to in s:gmatch(border) do
    list[#list + 1] = s:sub(from, to - 1)
    from = to
  end
  if from <= #s then list[#list + 1] = s:sub(from) end
  return list
end

-- Two halves, of whole characters; one character is one piece.
local function halves(s)
  local first = #s // 2
  while first > 0 and s:byte(first + 1) & 0xC0 == 0x80 do first = first - 1 end
  if first == 0 then first = #s:match("^.[\x80-\xBF]*") end
  return first < #s and { s:sub(1, first), s:sub(first + 1) } or { s }
end

-- Parts of at most `size` tokens, cut at the largest borders that allow it, within words where there are none; together
-- they are `s`. A character that takes more tokens stays whole.
function text.parts(model, s, size, level)
  level = level or 1
  if #model:tokenize(s) <= size then return s ~= "" and { s } or {} end
  local cut = borders[level] and pieces(s, borders[level]) or halves(s)
  if not borders[level] and not cut[2] then return cut end
  local parts, held, count = {}, {}, 0
  local function flush() -- tokens of pieces do not quite add up: what is too long in one goes into the next part
    while held[1] do
      local last = #held
      while last > 1 and #model:tokenize(table.concat(held, "", 1, last)) > size do last = last - 1 end
      parts[#parts + 1] = table.concat(held, "", 1, last)
      held = table.move(held, last + 1, #held, 1, {})
    end
    count = 0
  end
  for _, piece in ipairs(cut) do
    local tokens = #model:tokenize(piece)
    if count + tokens > size then flush() end
    if tokens > size then
      for _, part in ipairs(text.parts(model, piece, size, level + 1)) do parts[#parts + 1] = part end
    else
      held[#held + 1], count = piece, count + tokens
    end
  end
  flush()
  return parts
end

return text
