-- SPDX-License-Identifier: Apache-2.0
-- A bar on standard error, if that is a terminal and no sandbox hides it: local bar <close> = progress(total, "lines"); bar:step().
local gregale = require "gregale"
local width = 30

local Bar = {}
Bar.__index = Bar

function Bar:draw()
  if not self.shown then return end
  local full = self.total > 0 and self.done * width // self.total or width
  local spent = gregale.clock() - self.start
  local left = self.done > self.first and spent * (self.total - self.done) / (self.done - self.first)
  io.stderr:write(("\r\27[K[%s%s] %d/%d %s%s"):format(("#"):rep(full), ("."):rep(width - full), self.done, self.total,
    self.what, left and (" %d:%02d left"):format(left // 60, left % 60 // 1) or ""))
end

function Bar:step(count)
  self.done = self.done + (count or 1)
  self:draw()
end

function Bar:__close()
  if self.shown then io.stderr:write("\r\27[K") end
end

-- `first` of `total` were done before.
return function(total, what, first)
  local bar = setmetatable({ total = total, what = what, done = first or 0, first = first or 0, start = gregale.clock(),
    shown = os and os.execute("test -t 2") == true }, Bar)
  bar:draw()
  return bar
end
