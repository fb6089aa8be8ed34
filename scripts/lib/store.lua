-- SPDX-License-Identifier: Apache-2.0
-- Files cut into parts with an embedding each, in an SQLite database: what retrieval looks things up in. Errors are raised
-- as one line.
local gregale = require "gregale"

local Store = {}
Store.__index = Store

local schema = {
  "CREATE TABLE IF NOT EXISTS setting (name TEXT PRIMARY KEY, value TEXT NOT NULL)",
  "CREATE TABLE IF NOT EXISTS part (path TEXT NOT NULL, number INTEGER NOT NULL, content TEXT NOT NULL, "
    .. "embedding BLOB NOT NULL, PRIMARY KEY (path, number))",
}

local function quote(bytes) -- any bytes, also zeros
  return "X'" .. bytes:gsub(".", function(c) return ("%02x"):format(c:byte()) end) .. "'"
end

function Store:run(sql)
  local result, why = self.connection:execute(sql)
  if not result then error(("%s: %s"):format(self.path, (why:gsub("^LuaSQL: ", ""))), 0) end
  return result
end

-- An iterator over rows.
function Store:rows(sql)
  local cursor = self:run(sql)
  return function()
    return cursor:fetch()
  end
end

-- A setting that holds for all parts: kept the first time, compared ever after.
local function agree(self, name, value)
  local kept = self:rows(("SELECT value FROM setting WHERE name = '%s'"):format(name))()
  if not kept then
    self:run(("INSERT INTO setting VALUES ('%s', CAST(%s AS TEXT))"):format(name, quote(value)))
  elseif kept ~= value then
    error(("%s: made with another %s: %s, not %s"):format(self.path, name, kept, value), 0)
  end
end

-- Opens the database at `path`, or makes it. `settings`: what its embeddings depend on, by name. `embed(content)` returns
-- the embedding of a text, a list of numbers.
local function open(path, settings, embed)
  local found, sqlite = pcall(require, "luasql.sqlite3")
  if not found then
    error("SQLite for Lua is missing: install lua-sql-sqlite3 (Debian) or luasql-sqlite3 (luarocks)", 0)
  end
  local self = setmetatable({ path = path, embed = embed, environment = sqlite.sqlite3() }, Store)
  local connection, why = self.environment:connect(path)
  if not connection then error(("%s: %s"):format(path, (why:gsub("^LuaSQL: ", ""))), 0) end
  self.connection = connection
  for _, sql in ipairs(schema) do self:run(sql) end
  for name, value in pairs(settings) do agree(self, name, value) end
  return self
end

-- Embeddings are kept with length 1.
local function pack(embedding)
  local squares = 0
  for _, x in ipairs(embedding) do squares = squares + x * x end
  local scale, packed = squares > 0 and squares ^ -0.5 or 0, {}
  for i, x in ipairs(embedding) do packed[i] = ("<f"):pack(x * scale) end
  return table.concat(packed)
end

local function unpack(blob)
  local list = {}
  for i = 1, #blob // 4 do list[i] = ("<f"):unpack(blob, 4 * i - 3) end
  return list
end

-- What is stored of a file; "" when nothing is.
local function content_of(self, path)
  local parts = {}
  for content in self:rows(("SELECT content FROM part WHERE path = CAST(%s AS TEXT) ORDER BY number"):format(quote(path))) do
    parts[#parts + 1] = content
  end
  return table.concat(parts)
end

-- Stores a file's parts in place of those that were there. Returns how many were embedded: 0 when nothing has changed.
function Store:add(path, parts, each)
  if content_of(self, path) == table.concat(parts) then return 0 end
  local embeddings = gregale.map(parts, function(content)
    local packed = pack(self.embed(content))
    if each then each() end
    return packed
  end, { concurrency = 16 })
  self:run("BEGIN")
  self:run(("DELETE FROM part WHERE path = CAST(%s AS TEXT)"):format(quote(path)))
  for number, content in ipairs(parts) do
    self:run(("INSERT INTO part VALUES (CAST(%s AS TEXT), %d, %s, %s)"):format(quote(path), number, quote(content),
      quote(embeddings[number])))
  end
  self:run("COMMIT")
  return #parts
end

local function subtract(a, mean)
  local out, squares = {}, 0
  for i, x in ipairs(a) do
    out[i] = x - mean[i]
    squares = squares + out[i] * out[i]
  end
  return out, squares ^ 0.5
end

-- The `count` parts nearest to the text, best first: { path =, number =, content =, score = }. Embeddings of a language
-- model lie close together about their mean: it is taken off before angles are compared. Everything is compared.
function Store:find(query, count)
  local all, mean = {}, {}
  for path, number, content, blob in self:rows("SELECT path, number, content, embedding FROM part ORDER BY path, number") do
    local part = { path = path, number = math.tointeger(number), content = content, embedding = unpack(blob) }
    all[#all + 1] = part
    for i, x in ipairs(part.embedding) do mean[i] = (mean[i] or 0) + x end
  end
  for i in ipairs(mean) do mean[i] = #all > 1 and mean[i] / #all or 0 end
  if not all[1] then return {} end
  local wanted, length = subtract(unpack(pack(self.embed(query))), mean)
  for order, part in ipairs(all) do
    local own, own_length = subtract(part.embedding, mean)
    local dot = 0
    for i, x in ipairs(own) do dot = dot + x * wanted[i] end
    part.score, part.order, part.embedding = dot / math.max(length * own_length, 1e-30), order, nil
  end
  table.sort(all, function(a, b) return a.score > b.score or (a.score == b.score and a.order < b.order) end)
  return table.move(all, 1, math.min(count, #all), 1, {})
end

function Store:close()
  self.connection:close()
  self.environment:close()
end
Store.__close = Store.close

return { open = open }
