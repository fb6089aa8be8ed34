#!/usr/bin/env bash
# The pipelines of scripts/pipelines as a shell uses them: help, exit codes, one line for bad input, and what each promises.
# On ref, whose results do not depend on what runs beside them. Usage: pipelines.sh PATH_TO_GREGALE
set -uo pipefail
gregale=$(realpath "$1")
here=$(dirname "$(realpath "$0")")/../..
model=$here/configs/models/breeze/breeze-q8_0.gguf
tests=$(dirname "$gregale")/../tests
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
bad=0
mkdir plugins
for plugin in "$tests/far/gregale-backend-far.so" "$tests/mutants/mutant-gqa.so"; do
  [ -e "$plugin" ] && cp "$plugin" "plugins/gregale-backend-$(basename "$plugin" | sed 's/^gregale-backend-//; s/^mutant-.*/mydevice.so/')"
done
export GREGALE_PLUGIN_PATH=$work/plugins

# expect CODE "what" PIPELINE ARGUMENTS...: runs it (standard input: the file `in`); the exit code must be CODE; when it
# is 2 or 3 standard error has one line.
: >in
expect() {
  local code=$1 what=$2 pipeline=$here/scripts/pipelines/$3.lua
  shift 3
  "$gregale" script "$pipeline" "$@" >out 2>err <in
  local got=$?
  [ $got -eq "$code" ] || { echo "$what: exit code $got, expected $code"; cat err; bad=1; }
  if [ "$code" -eq 2 ] || [ "$code" -eq 3 ]; then
    [ "$(wc -l <err)" -eq 1 ] && [ ! -s out ] || { echo "$what: expected one line on standard error, found:"; cat err out; bad=1; }
  fi
}
fail() { echo "$1"; cat out err; bad=1; }
contains() { grep -q -- "$2" "$1" || fail "expected '$2' in $1:"; }
lines() { [ "$(wc -l <"$1")" -eq "$2" ] || fail "expected $2 lines in $1:"; }
same() { cmp -s "$1" "$2" || fail "$3: $1 and $2 differ:"; }
json() { python3 -c 'import json,sys; d=[json.loads(l) for l in open(sys.argv[1])]; assert eval(sys.argv[2]), d' "$1" "$2" || bad=1; }
ref=(--device ref)
printf 'And the king said unto the people, Let us go up.\n\nAnd he was three score years old.\nHe that hath ears, let him hear.\n' >verses

# ---- All of them
for pipeline in "$here"/scripts/pipelines/*.lua; do
  name=$(basename "$pipeline" .lua)
  expect 0 "$name --help" "$name" --help
  contains out "^Usage: gregale script $name.lua MODEL.gguf"
  expect 2 "$name without arguments" "$name"
  contains err "^$name: MODEL.gguf is missing; see --help"
  expect 2 "$name, unknown option" "$name" "$model" --nosuch
  contains err "unknown option '--nosuch'"
done
expect 2 "option without a value" complete "$model" x --max-tokens
expect 2 "value that is no number" complete "$model" x --max-tokens=many
contains err "expected a whole number from 1, got 'many'"
for option in --max-tokens=0 --seed=0 --temperature=1000 --temperature=-1 --stop=; do
  expect 2 "complete $option" complete "$model" x $option "${ref[@]}"
  contains err ": expected "
done
expect 2 "one argument too many" complete "$model" x y
expect 3 "no such model" complete nowhere.gguf x
contains err "nowhere.gguf: cannot open"
expect 3 "no such device" complete "$model" x --device nosuch

# ---- Input that does not fit the context is bad input, in one line; of many inputs it costs the one.
for ((i = 0; i < 200; i++)); do tr '\n' ' ' <verses; done >long
cp long in
for pipeline in complete best-of-n vote tree-of-thoughts agent; do
  expect 3 "$pipeline of too much" $pipeline "$model" - "${ref[@]}"
  contains err "^$pipeline: the context of 4096 positions is full"
done
expect 3 "compare-devices of too much" compare-devices "$model" ref,cpu -
contains err "^compare-devices: the context of 4096 positions is full"
expect 3 "classify too much" classify "$model" a,b - "${ref[@]}"
contains err "^classify: line 1: the context of 4096 positions is full"
(head -n 1 verses; cat long; echo; tail -n 1 verses) >in
echo '{"type":"object","properties":{"age":{"type":"integer","maximum":9}},"required":["age"]}' >age.json
expect 1 "extract from too much" extract "$model" age.json - --lines "${ref[@]}"
contains err "^extract: 1 of 3 documents had an error"
json out 'len(d) == 3 and list(d[0]) == list(d[2]) == ["age"] and d[1]["error"].startswith("the context of 4096 positions is full")'
while read -r line; do printf '{"prompt": "%s", "max_tokens": 2}\n' "$line"; done <in >long.jsonl
expect 1 "batch with too much" batch "$model" long.jsonl "${ref[@]}"
json out 'len(d) == 3 and "text" in d[0] and "text" in d[2] and d[1]["error"].startswith("the context of 4096 positions is full")'
printf '%04500d' 0 >in
expect 0 "summarise one long word" summarise "$model" - --part 100000 --max-tokens 4 --device cpu
lines out 1
: >in
expect 2 "summarise at a length that leaves no room" summarise "$model" verses --max-tokens 2000 "${ref[@]}"
contains err "--max-tokens: expected at most 10.. with a context of 4096"

# ---- complete and chat
expect 0 "complete" complete "$model" "And the king" --max-tokens 8 --temperature 0 "${ref[@]}"
contains out "^And the king"
mv out first
printf 'And the king' >in
expect 0 "complete, from standard input" complete "$model" - --max-tokens 8 --temperature 0 "${ref[@]}"
same first out "the text on standard input"
"$gregale" run "$model" --raw -p "And the king" --max-tokens 8 --temperature 0 "${ref[@]}" >second
[ "$(cat first)" = "And the king$(cat second)" ] || fail "complete says something else than gregale run"
: >in
expect 3 "chat with a model that cannot" chat "$model"
contains err "a model without a chat format"

# ---- summarise
for ((i = 0; i < 6; i++)); do cat verses; done >long
expect 0 "summarise" summarise "$model" long --part 60 --max-tokens 12 "${ref[@]}"
lines out 1
mv out first
expect 0 "summarise, a part at a time" summarise "$model" long --part 60 --max-tokens 12 --concurrency 1 "${ref[@]}"
same first out "summaries side by side and in turn"
cp long in
expect 0 "summarise, one part" summarise "$model" - --part 1000 --max-tokens 12 "${ref[@]}"
cmp -s first out && fail "the parts were not summarised by themselves"
: >in
expect 3 "summarise nothing" summarise "$model" -
contains err "nothing to summarise"
expect 2 "summarise parts of nothing" summarise "$model" verses --part 0
expect 3 "summarise no file" summarise "$model" nowhere
contains err "cannot read nowhere: No such file"

# ---- extract
printf '{"type":"object","properties":{"speaker":{"type":"string","maxLength":12},"age":{"type":"integer","maximum":200}},"required":["speaker","age"]}' >schema.json
expect 0 "extract" extract "$model" schema.json verses --lines --temperature 0.9 "${ref[@]}"
lines out 3
json out 'all(list(x) == ["speaker", "age"] and len(x["speaker"]) <= 12 and type(x["age"]) is int and x["age"] <= 200 for x in d)'
expect 0 "extract, whole files" extract "$model" schema.json verses verses "${ref[@]}"
lines out 2
json out 'd[0] == d[1]'
expect 3 "schema that is none" extract "$model" verses verses
contains err "JSON, line 1, column 3: "
echo '{"if": true}' >conditional.json
expect 3 "schema that cannot be had" extract "$model" conditional.json verses "${ref[@]}"
contains err "JSON Schema, /if: this keyword is not supported"

# ---- classify
expect 0 "classify" classify "$model" "speech, age" verses "${ref[@]}"
lines out 3
cut -f 3 out | diff - <(grep . verses) || fail "the lines are not those of the file"
awk -F '\t' '($1 != "speech" && $1 != "age") || $2 < 0.5 || $2 > 1 { exit 1 }' out || fail "no label, or not the likelier:"
cut -f 2 out >first
expect 0 "classify, the other way about" classify "$model" "age,speech" verses --about "Answer" "${ref[@]}"
expect 0 "classify, calibrated" classify "$model" "speech, age" verses --calibrate "${ref[@]}"
cut -f 2 out | cmp -s - first && fail "calibration changes nothing:"
expect 2 "one label" classify "$model" "speech" verses

# ---- best-of-n
expect 0 "best-of-n" best-of-n "$model" "And the king said" --n 5 --max-tokens 10 --all "${ref[@]}"
lines out 5
cut -f 1 out | sort -gr -c || fail "the best is not first:"
[ "$(cut -f 2 out | sort -u | wc -l)" -gt 1 ] || fail "all answers are the same:"
mv out first
expect 0 "best-of-n, the best" best-of-n "$model" "And the king said" --n 5 --max-tokens 10 "${ref[@]}"
[ "$(tr -s ' \n' '  ' <out)" = "$(head -n 1 first | cut -f 2) " ] || fail "not the best of them:"
echo 'return function(answer) return -#answer end' >shortest.lua
expect 0 "best-of-n, own scorer" best-of-n "$model" "And the king said" --n 5 --max-tokens 10 --scorer shortest.lua "${ref[@]}"
[ "$(tr -s ' \n' '  ' <out | wc -c)" -le $(($(cut -f 2 first | awk '{ print length }' | sort -n | head -n 1) + 1)) ] || fail "not the shortest:"
expect 0 "best-of-n, judged" best-of-n "$model" "And the king said" --n 2 --max-tokens 5 --scorer judge "${ref[@]}"
expect 2 "best-of-n of nothing" best-of-n "$model" x --max-tokens 0 "${ref[@]}"
expect 3 "best-of-n, no such scorer" best-of-n "$model" x --scorer nowhere.lua

# ---- vote
expect 0 "vote" vote "$model" "How old was he?" --n 5 --max-tokens 8 --form "[0-9]{1,3}" --counts --show "${ref[@]}"
awk -F '\t' '{ n += $1; if ($2 !~ /^[0-9]+$/ || (NR > 1 && $1 > before)) exit 1; before = $1 } END { exit n != 5 }' out || fail "no count of five:"
[ "$(grep -c -- '-> [0-9]*$' err)" -eq 5 ] || fail "expected five lines of reasoning:"
[ "$(grep -c -- "-> $(head -n 1 out | cut -f 2)\$" err)" -eq "$(head -n 1 out | cut -f 1)" ] || fail "miscounted:"
head -n 1 out | cut -f 2 >first
expect 0 "vote, the answer" vote "$model" "How old was he?" --n 5 --max-tokens 8 --form "[0-9]{1,3}" "${ref[@]}"
same first out "the answer of most"
expect 2 "vote, a form that is none" vote "$model" x --form "(" "${ref[@]}"
contains err "regular expression, character 1: "

# ---- tree-of-thoughts
expect 0 "tree-of-thoughts" tree-of-thoughts "$model" "How shall we cross the sea?" --branches 3 --keep 2 --depth 2 --thought 8 --max-tokens 8 --show "${ref[@]}"
[ -s out ] || fail "no answer:"
lines err $((3 + 2 * 3))
[ "$(grep -c '^[12] \*' err)" -eq 4 ] || fail "expected two thoughts kept at each depth:"
cp out first
expect 0 "tree-of-thoughts, again" tree-of-thoughts "$model" "How shall we cross the sea?" --branches 3 --keep 2 --depth 2 --thought 8 --max-tokens 8 "${ref[@]}"
same first out "two runs of one seed"
expect 2 "tree without branches" tree-of-thoughts "$model" x --branches 0

# ---- agent: breeze knows no tools, and what it may write is nothing but calls and an answer.
cat >bell.lua <<'LUA'
return { { name = "ring", description = "Rings the bell.", call = function() return { rung = true } end },
         { name = "break", call = function() error("the bell is broken", 0) end } }
LUA
: >calls
for seed in 1 2 3 4 5 6; do
  expect 0 "agent, seed $seed" agent "$model" "Who shall go up?" verses --tools bell.lua --temperature 1 --seed $seed --max-tokens 60 --max-steps 3 --show "${ref[@]}"
  [ -s out ] || fail "no answer:"
  cat err >>calls
done
[ -s calls ] || fail "no tool was called"
grep -vE '^(calculate|search|read|ring|break) \{.*\} -> ' calls >err && fail "something else than calls"
grep -E '^ring ' calls | grep -vx 'ring {} -> {"rung":true}' >err && fail "another result"
grep -E '^break ' calls | grep -vx 'break {} -> error: the bell is broken' >err && fail "another error"
expect 0 "agent, one step" agent "$model" "Who shall go up?" verses --max-steps 1 --max-tokens 20 --show "${ref[@]}"
[ -s out ] && [ ! -s err ] || fail "expected an answer and no call:"
expect 3 "agent, no such file" agent "$model" x nowhere
expect 3 "agent, no tools" agent "$model" x --tools verses
echo 'return { { name = "no call" } }' >wrong.lua
expect 3 "agent, wrong tools" agent "$model" x --tools wrong.lua
contains err "wrong.lua: tools.definitions: tools\[.\].name: expected letters"
expect 2 "agent without steps" agent "$model" x --max-steps 0
expect 2 "agent without room" agent "$model" x --max-tokens 1 "${ref[@]}"

# ---- batch
for i in 1 2 3 4 5; do echo "{\"id\": \"q$i\", \"prompt\": \"And the king said $i\", \"max_tokens\": $((24 - i * 4))}"; done >in.jsonl
expect 0 "batch" batch "$model" in.jsonl "${ref[@]}"
json out '[x["line"] for x in d] == [1, 2, 3, 4, 5] and [x["id"] for x in d] == ["q1", "q2", "q3", "q4", "q5"]'
json out '[x["generated_tokens"] for x in d] == [20, 16, 12, 8, 4]'
mv out whole
(head -n 2 whole; printf '{"line":3,"te') >cut.jsonl
expect 0 "batch, resumed" batch "$model" in.jsonl cut.jsonl "${ref[@]}"
same whole cut.jsonl "a batch that was cut off and went on"
expect 0 "batch, done already" batch "$model" in.jsonl cut.jsonl "${ref[@]}"
same whole cut.jsonl "a batch that was done"
# It stays the file it is, wherever its name leads, also where the new line is shorter than what was cut off.
(head -n 2 whole; printf '{"line":3,"text":"%0200d' 0) >target.jsonl
chmod 640 target.jsonl
ln -s target.jsonl link.jsonl
expect 0 "batch, resumed through a link" batch "$model" in.jsonl link.jsonl "${ref[@]}"
[ -L link.jsonl ] && [ "$(stat -c %a target.jsonl)" = 640 ] || fail "the link or its target was replaced:"
sed 's/ *$//' target.jsonl | cmp -s - whole || fail "another batch through a link:"
expect 0 "batch, done already through a link" batch "$model" in.jsonl link.jsonl "${ref[@]}"
(cat whole; printf '{"line":6') >long.jsonl
expect 3 "results of a longer batch" batch "$model" in.jsonl long.jsonl
(cat in.jsonl; echo '{"id": 7}'; echo nonsense) >in
expect 1 "batch with bad lines" batch "$model" - --concurrency 2 "${ref[@]}"
json out '"prompt" in d[5]["error"] and d[5]["line"] == 6 and "JSON" in d[6]["error"] and len(d) == 7'
head -n 5 out >first
same first whole "lines beside bad ones"
head -n 6 out >kept.jsonl
expect 1 "batch, resumed behind an error" batch "$model" - kept.jsonl "${ref[@]}"
expect 1 "batch, done already with an error" batch "$model" - kept.jsonl "${ref[@]}"
: >in
expect 3 "results of something else" batch "$model" in.jsonl in.jsonl
contains err "line 1 is not a result of this batch"

# ---- dialogue
expect 0 "dialogue" dialogue "$model" "$model" "And he said," --turns 3 --max-tokens 8 --devices ref,cpu
lines out 4
[ "$(sed 's/:.*//' out | tr '\n' ' ')" = "second first second first " ] || fail "out of turn:"
# Plain text: a line a turn, with nothing between them.
expect 0 "dialogue in lines" dialogue "$model" "$model" "And he said," --turns 3 --max-tokens 80 --devices ref,ref
mv out first
"$gregale" script - "$model" >out 2>err <<'LUA'
local model = require "gregale".load{ arg[1], device = "ref" }
local lines = { "And he said," }
for turn = 1, 3 do
  local session = model:session()
  for i = turn % 2 == 1 and 1 or 2, #lines do session:append(lines[i] .. "\n") end
  local text, info = session:generate{ max_tokens = 80, temperature = 0.8, seed = turn, stop = "\n" }
  assert(info.stop_reason == "text")
  lines[#lines + 1] = text:match("^%s*(.-)%s*$")
end
for i, line in ipairs(lines) do print((i % 2 == 1 and "second: " or "first: ") .. line) end
LUA
sed 's/: */: /; s/ *$//' first | cmp -s - out || fail "another dialogue:"
expect 2 "dialogue, too hot" dialogue "$model" "$model" x --temperature 1000
expect 2 "dialogue on one device" dialogue "$model" "$model" x --devices ref

# ---- compare-devices: far computes as ref does; the mutant maps heads to the wrong keys.
if [ -e plugins/gregale-backend-far.so ]; then
  expect 0 "equal devices" compare-devices "$model" ref,far "And the king said" --max-tokens 12 --json
  json out 'd[0]["largest_difference"] == 0 == d[0]["divergence"] and d[0]["agreed"] == d[0]["tokens"] == 12 and d[0]["text_a"] == d[0]["text_b"]'
fi
expect 0 "alike devices" compare-devices "$model" ref,cpu "And the king said" --max-tokens 12
contains out "the answers are the same 12 tokens"
if [ -e plugins/gregale-backend-mydevice.so ]; then
  expect 1 "a broken device" compare-devices "$model" ref,mydevice "And the king said" --max-tokens 12 --json
  json out 'd[0]["texts_part_at"] == d[0]["first_disagreement"] <= 12 and d[0]["agreed"] < 12 and d[0]["divergence"] > 0.1'
fi
expect 2 "one device" compare-devices "$model" ref x

# ---- retrieve
if "$gregale" script - >err 2>&1 <<<'require "luasql.sqlite3"'; then
  printf 'And the king of Israel went up to the house of the LORD.\n' >king.txt
  printf 'He had seven hundred sheep, and three thousand camels, and five hundred oxen.\n\nAnd the sons of Levi: Gershon, Kohath and Merari.\n' >herds.txt
  expect 0 "retrieve add" retrieve "$model" store.db add king.txt herds.txt --part 30 "${ref[@]}"
  contains out "herds.txt: 2 parts stored"
  expect 0 "retrieve add, again" retrieve "$model" store.db add king.txt --part 30 "${ref[@]}"
  contains out "king.txt: unchanged"
  printf "And it's the king of Judah that came down.\n" >king.txt
  expect 0 "retrieve add, changed" retrieve "$model" store.db add king.txt "${ref[@]}"
  contains out "king.txt: 1 parts stored"
  # What is stored is found at once: nothing is nearer to a part than the part.
  expect 0 "retrieve find" retrieve "$model" store.db find "And the sons of Levi: Gershon, Kohath and Merari." --top 2 "${ref[@]}"
  lines out 2
  head -n 1 out | grep -q "^0.9.*herds.txt:2.And the sons of Levi" || fail "another part is nearer:"
  expect 0 "retrieve find, near" retrieve "$model" store.db find six hundred sheep and a thousand camels --top 1 "${ref[@]}"
  contains out "herds.txt:1.He had seven hundred"
  expect 0 "retrieve ask" retrieve "$model" store.db ask "Who came down?" --max-tokens 8 --top 2 "${ref[@]}"
  grep -q "^\[2\] .*.txt:[0-9]" out || fail "no sources:"
  expect 3 "retrieve, other embeddings" retrieve "$model" store.db find x --pool last "${ref[@]}"
  contains err "made with another pool: mean, not last"
  expect 3 "retrieve, no database" retrieve "$model" verses find x "${ref[@]}"
  contains err "verses: file is not a database"
  expect 3 "retrieve from nothing" retrieve "$model" empty.db ask x "${ref[@]}"
else
  echo "not tried: retrieve, without lua-sql-sqlite3"
fi
LUA_CPATH=/nowhere/?.so expect 3 "retrieve without SQLite" retrieve "$model" other.db find x "${ref[@]}"
contains err "install lua-sql-sqlite3"
expect 2 "retrieve nothing" retrieve "$model" store.db find
expect 2 "retrieve, unknown action" retrieve "$model" store.db lose x "${ref[@]}"

exit $bad
