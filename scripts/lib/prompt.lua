-- SPDX-License-Identifier: Apache-2.0
-- Prompts for both kinds of model: those with a chat format are told in turns, the others continue plain text.
local prompt = {}

function prompt.chats(model)
  return model:info().chat_format ~= ""
end

-- A session that was told what it shall do, evaluated: a prefix that forks share.
function prompt.prepare(model, instruction, options)
  local session = model:session(options)
  if prompt.chats(model) then
    session:user(instruction):assistant("Understood.")
  else
    session:append(instruction .. "\n\n")
  end
  return session:evaluate()
end

-- Puts the next question; `lead` begins the answer of a model that continues text ("Summary:").
function prompt.ask(model, session, text, lead)
  if prompt.chats(model) then return session:user(text) end
  return session:append(lead and ("%s\n\n%s"):format(text, lead) or text)
end

-- Calls f. What the context has no room for is somebody's input: that error loses its place in a script, for command.try.
function prompt.fit(f, ...)
  local results = table.pack(pcall(f, ...))
  if results[1] then return table.unpack(results, 2, results.n) end
  local message = tostring(results[2])
  local full = message:find("the context of %d+") or message:find("the shortest answer that .+ are left$")
  error(full and message:gsub("^[^\n]-session:[%w_]+: ", "") or results[2], 0)
end

-- The words as session:choose wants them: behind plain text they begin with a space.
function prompt.options(model, words)
  local space, options = prompt.chats(model) and "" or " ", {}
  for i, word in ipairs(words) do options[i] = space .. word end
  return options
end

return prompt
