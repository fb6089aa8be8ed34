#!/usr/bin/env bash
# gregale script --record and gregale replay: the same again, elsewhere, and what is reported when it is not.
# Usage: replay.sh PATH_TO_GREGALE
set -uo pipefail
gregale=$1
model=$(realpath "$(dirname "$0")/../../configs/models/breeze/breeze-q8_0.gguf")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

expect() { # expect CODE "what" COMMAND...
  local code=$1 what=$2
  shift 2
  timeout 120 "$@" >"$work/out" 2>"$work/err" </dev/null
  local got=$?
  [ $got -eq "$code" ] || { echo "$what: exit code $got, expected $code"; cat "$work/err"; bad=1; }
}
contains() { grep -qE -- "$2" "$work/$1" || { echo "expected '$2' in:"; cat "$work/$1"; bad=1; }; }
# edit RECORD PYTHON: a record like it, with the lines that `lines` then holds.
edit() {
  python3 - "$1" "$work/edited.jsonl" "$2" <<'PYTHON'
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
exec(sys.argv[3])
open(sys.argv[2], "w").writelines(json.dumps(line) + "\n" for line in lines)
PYTHON
}

cat >"$work/script.lua" <<'LUA'
local gregale = require "gregale"
local model = gregale.load{ arg[1], device = "cpu", context = 512 }
local s = model:session():append("And the king said unto " .. arg[2])
print(math.random(1 << 40), (s:generate{ max_tokens = 12 })) -- fresh seeds
print((s:choose{ " the people", " his servants", " him" }))
local texts = gregale.map({ 3, 9, 6 }, function(n)
  local f = s:fork():append(" unto")
  return f:generate{ max_tokens = n, ignore_end = true } .. f:generate{ max_tokens = 2 }
end, { concurrency = 2 })
for piece in s:stream{ max_tokens = 20, ignore_end = true } do print(piece) if #piece > 2 then break end end
print(table.concat(texts, "|"))
LUA

record=$work/run.jsonl
expect 0 "record" "$gregale" script --record "$record" "$work/script.lua" "$model" "David"
cp "$work/out" "$work/first"
python3 - "$record" "$work/script.lua" <<'PYTHON' || { cat "$record"; bad=1; }
import hashlib, json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
head = lines[0]
assert head["type"] == "script" and head["sha256"] == hashlib.sha256(open(sys.argv[2], "rb").read()).hexdigest()
assert head["arguments"][1] == "David" and lines[-1] == {"type": "end", "exit_code": 0}
body = lines[1:-1]
assert sorted(line["number"] for line in body) == list(range(1, len(body) + 1))
kinds = [line["type"] for line in body]
assert (kinds.count("model"), kinds.count("choice"), kinds.count("answer")) == (1, 1, 8), kinds
assert all(line["device"] == "cpu" for line in body)
assert all(line["seed"] > 0 for line in body if line["type"] == "answer")
PYTHON
expect 0 "replay" "$gregale" replay "$record"
cmp -s "$work/out" "$work/first" || { echo "replay printed something else"; diff "$work/first" "$work/out"; bad=1; }
contains err "the same: answers and choices: 9"
expect 0 "script without a record draws other seeds" "$gregale" script "$work/script.lua" "$model" "David"
cmp -s "$work/out" "$work/first" && { echo "two runs drew the same seeds"; bad=1; }

# Elsewhere. Greedy answers of few tokens agree on ref and cpu; the device is where it was asked for.
cat >"$work/greedy.lua" <<'LUA'
local model = require "gregale".load{ arg[1], device = "cpu" }
local s = model:session():append("In the beginning God")
s:generate{ max_tokens = 8, temperature = 0 }
s:move("cpu")
print(model:info().device, s:device())
LUA
expect 0 "record, greedy" "$gregale" script --record="$record.2" "$work/greedy.lua" "$model"
expect 0 "replay elsewhere" "$gregale" replay --device ref "$record.2"
contains out "ref.*ref"
expect 6 "replay nowhere" "$gregale" replay "$record.2" --device warp
contains err "no device is called warp"

# Differences, each planted.
edit "$record" 'next(l for l in lines if l["type"] == "answer" and l["number"] == 2)["tokens"][5] += 1'
expect 1 "another token" "$gregale" replay "$work/edited.jsonl"
contains err 'replay: number 2, an answer, token 6: [0-9]+ ".*" was recorded, [0-9]+ ".*" came on cpu'
edit "$record" 'next(l for l in lines if l["type"] == "answer" and l["number"] == 2)["tokens"].pop()'
expect 1 "a token more" "$gregale" replay "$work/edited.jsonl"
contains err 'token 12: the end was recorded'
# An end that a time limit made says nothing, on either side; one of another kind does.
answer='a = next(l for l in lines if l["type"] == "answer" and l["number"] == 2)'
edit "$record" "$answer; a['tokens'].pop(); a['stop_reason'] = 'time'"
expect 0 "a token more, behind a time limit" "$gregale" replay "$work/edited.jsonl"
edit "$record" "$answer; a['tokens'].append(5); a['stop_reason'] = 'time'"
expect 1 "a token less than before a time limit" "$gregale" replay "$work/edited.jsonl"
contains err 'token 13: 5 ".*" was recorded, the end came'
edit "$record" 'next(l for l in lines if l["type"] == "choice")["tokens"][0] += 1'
expect 1 "another choice" "$gregale" replay "$work/edited.jsonl"
contains err 'a choice, token 1: option [0-9] was recorded, option [0-9] came'
edit "$record" 'lines[0]["arguments"][1] = "Saul"'
expect 1 "another prompt" "$gregale" replay "$work/edited.jsonl"
contains err 'number 2 begins behind another prompt'
edit "$record" 'next(l for l in lines if l["type"] == "model")["fingerprint"] = "0123456789abcdef"'
expect 1 "another model" "$gregale" replay "$work/edited.jsonl"
contains err 'number 1: the model is another one'
edit "$record" 'n = max(l.get("number", 0) for l in lines); lines.insert(-1, dict(next(l for l in lines if l["type"] == "answer"), number=n + 1))'
expect 1 "an answer less" "$gregale" replay "$work/edited.jsonl"
contains err 'was an answer, and did not come'
edit "$record" 'n = max(l.get("number", 0) for l in lines); lines = [l for l in lines if l.get("number") != n]'
expect 1 "an answer more" "$gregale" replay "$work/edited.jsonl"
contains err 'was nothing, and is an answer'

cat >"$work/timed.lua" <<'LUA'
local s = require "gregale".load{ arg[1], device = "cpu" }:session():append("And")
print(select(2, s:generate{ max_tokens = 400, ignore_end = true, max_seconds = tonumber(os.getenv("LIMIT")) }).stop_reason)
LUA
expect 0 "no time limit" "$gregale" script --record "$record.6" "$work/timed.lua" "$model"
expect 0 "a time limit in the replay" env LIMIT=0.01 "$gregale" replay "$record.6"
contains out '^time$'
contains err "the same"
expect 0 "a time limit" env LIMIT=0.01 "$gregale" script --record "$record.6" "$work/timed.lua" "$model"
expect 0 "no time limit in the replay" "$gregale" replay "$record.6"
contains out '^limit$'

# What is no record, or of another script.
edit "$record" 'lines.pop()'
expect 3 "a record that was cut" "$gregale" replay "$work/edited.jsonl"
edit "$record" 'lines[2]["number"] = 10 ** 9'
expect 3 "a number beyond the file" "$gregale" replay "$work/edited.jsonl"
contains err "edited.jsonl: line 3"
edit "$record" 'lines.pop(2)'
expect 3 "a number left out" "$gregale" replay "$work/edited.jsonl"
head -c 200 /dev/urandom >"$work/noise"
expect 3 "noise" "$gregale" replay "$work/noise"
expect 3 "no such record" "$gregale" replay "$work/nowhere"
echo '-- changed' >>"$work/script.lua"
expect 3 "a script that changed" "$gregale" replay "$record"
contains err "has changed since it was recorded"
expect 2 "nothing" "$gregale" replay
expect 2 "two records" "$gregale" replay a b
expect 2 "record of standard input" "$gregale" script --record "$work/x" -
expect 2 "record of an argument that is no UTF-8" "$gregale" script --record "$work/x" "$work/script.lua" "$model" $'no\xff'
contains err "--record: argument 2 is no UTF-8"
[ "$(wc -l <"$work/err")" -eq 1 ] && [ ! -e "$work/x" ] || { echo "expected one line, and no record"; cat "$work/err"; bad=1; }
cp "$work/script.lua" "$work/"$'no\xff.lua'
expect 2 "record of a path that is no UTF-8" "$gregale" script --record "$work/x" "$work/"$'no\xff.lua' "$model" David
expect 3 "record into nowhere" "$gregale" script --record "$work/nowhere/x" "$work/script.lua" "$model" David

# A script that fails leaves a record; so does one in a sandbox, which is not run again outside of one.
printf 'local s = require "gregale".load{(...)}:session():append("a") s:generate{max_tokens = 3} error("wrong")\n' >"$work/fails.lua"
expect 6 "a script that fails" "$gregale" script --record "$record.3" "$work/fails.lua" "$model"
contains err "fails.lua:1: wrong"
expect 6 "and again" "$gregale" replay "$record.3"
expect 6 "in a sandbox" "$gregale" script --sandbox --allow "read:$model" --record "$record.4" "$work/fails.lua" "$model"
expect 2 "replay outside of it" "$gregale" replay "$record.4"
contains err "recorded in a sandbox"
expect 6 "replay in one" "$gregale" replay --sandbox --allow "read:$model" "$record.4"
# os.exit ends a script like any other way.
printf 'local s = require "gregale".load{(...)}:session():append("a") print(s:generate{max_tokens = 3}) os.exit(tonumber((select(2, ...))), true)\n' >"$work/exits.lua"
expect 3 "os.exit" "$gregale" script --record "$record.5" "$work/exits.lua" "$model" 3
expect 3 "and again" "$gregale" replay "$record.5"
contains err "the same: answers and choices: 1, their tokens: 3"
edit "$record.5" 'lines.insert(-1, dict(next(l for l in lines if l["type"] == "answer"), number=3))'
expect 1 "os.exit before the last answer" "$gregale" replay "$work/edited.jsonl"
contains err "did not come"
printf 'while true do end\n' >"$work/loop.lua"
mkdir "$work/killed"
expect 4 "a script that is killed" "$gregale" script --sandbox --seconds 1 --instructions 9007199254740992 --record "$work/killed/r" "$work/loop.lua"
[ -z "$(ls "$work/killed")" ] || { echo "a killed script leaves files:"; ls "$work/killed"; bad=1; }
exit $bad
