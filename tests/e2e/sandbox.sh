#!/usr/bin/env bash
# gregale script --sandbox: options, exit codes, what only a process that can be killed stops, and what that process
# has given up. Usage: sandbox.sh PATH_TO_GREGALE
set -uo pipefail
gregale=$1
model=$(realpath "$(dirname "$0")/../../configs/models/breeze/breeze-q8_0.gguf")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# expect CODE "what" 'SCRIPT' OPTION...: runs the text as a script in a sandbox.
expect() {
  local code=$1 what=$2
  printf '%s\n' "$3" >"$work/script.lua"
  shift 3
  timeout 60 "$gregale" script --sandbox "$@" "$work/script.lua" "$model" "$work" >"$work/out" 2>"$work/err" </dev/null
  local got=$?
  [ $got -eq "$code" ] || { echo "$what: exit code $got, expected $code"; cat "$work/err"; bad=1; }
}
contains() { grep -q -- "$2" "$work/$1" || { echo "expected '$2' in:"; cat "$work/$1"; bad=1; }; }

expect 0 "a script" 'print("hello", ...) io.write("there\n")'
contains out "hello"
contains out "there"
expect 6 "an error" 'local function f() error("wrong") end f()'
contains err "script.lua:1: wrong"
expect 7 "what was not granted" 'assert(io.open("/etc/passwd"))'
contains err "no --allow read: covers it"
expect 4 "instructions" 'while true do pcall(function() while true do end end) end' --instructions 1000000
contains err "used up its 1000000 instructions"
expect 4 "memory" 'return ("x"):rep(1e9)' --memory 64M
contains err "not enough memory"
expect 0 "a model" 'local m = require "gregale".load{(...)} print(m:session():append("And"):generate{max_tokens = 3})' "--allow=read:$model"
expect 7 "a model, not granted" 'require "gregale".load{(...)}'
expect 6 "memory of the engine" 'require "gregale".load{(...)}' "--allow=read:$model" --process-memory 4M
contains err "no memory"

# Pipelines: what they write is what they write outside.
printf 'And the king went up.\nAnd he was old.\n' >"$work/lines"
pipeline() {
  local script=$(dirname "$0")/../../scripts/pipelines/$1.lua
  shift
  "$gregale" script "$script" "$@" --device ref >"$work/expected" 2>"$work/err" || { echo "$script fails"; bad=1; }
  "$gregale" script --sandbox "--allow=read:$model" "--allow=read:$work" "$script" "$@" --device ref >"$work/out" 2>"$work/err" ||
    { echo "$script fails in a sandbox:"; cat "$work/err"; bad=1; }
  [ -s "$work/out" ] && cmp "$work/out" "$work/expected" || { echo "$script: another text in a sandbox"; bad=1; }
}
pipeline complete "$model" "And the king" --max-tokens 4
pipeline classify "$model" "speech, age" "$work/lines"
"$gregale" script --sandbox "--allow=read:$model" "$(dirname "$0")/../../scripts/pipelines/complete.lua" "$model" x --max-tokens 0 2>"$work/err"
[ $? -eq 6 ] || { echo "a wrong argument in a sandbox: expected exit code 6"; bad=1; }
contains err "complete: --max-tokens: expected a whole number from 1"

# Functions of C that no hook sees.
for text in '("x"):rep(3e4):find(("x*"):rep(30) .. "y")' '(""):rep(1 << 62)' 'table.move({}, 1, 1 << 62, 2)' \
  'table.concat({}, "", -1 << 62, 1 << 62 - 1)' 'select("#", ("x"):rep(1e5):gsub((".-"):rep(25) .. "y", ""))' \
  'coroutine.wrap(function() return pcall(string.rep, "", 1 << 62) end)()'; do
  start=$(date +%s)
  expect 4 "$text" "print('begun') pcall(function() return $text end) while true do end" --seconds 1.5 --instructions 9007199254740992
  contains out begun
  contains err "1.5 seconds"
  [ $(($(date +%s) - start)) -lt 20 ] || { echo "$text: stopped late"; bad=1; }
done

# What its process has given up, looked at while it runs; and it ends with its parent.
printf 'print("ready") while true do end\n' >"$work/loop.lua"
"$gregale" script --sandbox --instructions 9007199254740992 "$work/loop.lua" >"$work/ready" &
parent=$!
for _ in $(seq 300); do grep -qs ready "$work/ready" && break; sleep 0.1; done
child=$(cat "/proc/$parent/task/$parent/children")
child=${child%% *}
for line in 'NoNewPrivs:.*1' 'Seccomp:.*2'; do
  for status in /proc/"$child"/task/*/status; do
    grep -q "$line" "$status" || { echo "expected $line in $status"; bad=1; }
  done
done
grep -q 'Max core file size *0 ' "/proc/$child/limits" || { echo "it may leave a core file"; bad=1; }
kill -TERM $parent
wait $parent 2>/dev/null
for _ in $(seq 50); do [ -d "/proc/$child" ] || break; sleep 0.1; done
grep -q '^State:.*Z' "/proc/$child/status" 2>/dev/null || [ ! -d "/proc/$child" ] || { echo "the script outlives its parent"; kill -9 "$child"; bad=1; }
rm "$work/ready" # else the last run's is seen before this one has emptied it
"$gregale" script --sandbox "$work/loop.lua" >"$work/ready" 2>"$work/err" &
parent=$!
for _ in $(seq 300); do grep -qs ready "$work/ready" && break; sleep 0.1; done
child=$(cat "/proc/$parent/task/$parent/children")
kill -INT ${child%% *} # as a terminal's Ctrl-C would
wait $parent
[ $? -eq 130 ] || { echo "interrupted: expected exit code 130"; cat "$work/err"; bad=1; }
[ "$(cat "$work/err")" = "gregale: interrupted" ] || { echo "interrupted: expected one line:"; cat "$work/err"; bad=1; }
expect 6 "an error that speaks of an interruption" 'error("the download was interrupted")'
contains err "download was interrupted"
contains err "stack traceback"

for arguments in '--memory' '--memory=much' '--seconds 0' '--instructions -1' '--allow read' '--allow=exec:/tmp' '--frobnicate'; do
  "$gregale" script --sandbox $arguments >"$work/out" 2>"$work/err"
  [ $? -eq 2 ] || { echo "options '$arguments': expected exit code 2"; bad=1; }
  [ "$(wc -l <"$work/err")" -eq 1 ] || { echo "expected one line for '$arguments':"; cat "$work/err"; bad=1; }
done
"$gregale" script --memory 4M "$work/loop.lua" 2>"$work/err"
[ $? -eq 2 ] || { echo "a budget without a sandbox: expected exit code 2"; bad=1; }
contains err "expected --sandbox"
"$gregale" script --sandbox --allow "read:$work/nowhere" "$work/loop.lua" 2>"$work/err"
[ $? -eq 3 ] || { echo "a grant of nothing: expected exit code 3"; bad=1; }
exit $bad
