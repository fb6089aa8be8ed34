#!/usr/bin/env bash
# The command line as people and scripts use it: answers, JSON, exit codes, one clear line for bad input.
# Usage: command-line.sh PATH_TO_GREGALE
set -uo pipefail
gregale=$1
model=$(dirname "$0")/../../configs/models/breeze/breeze-q8_0.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# expect CODE "what" COMMAND...: runs it; the exit code must be CODE; a failure says one line on stderr.
expect() {
  local code=$1 what=$2
  shift 2
  "$@" >"$work/out" 2>"$work/err" </dev/null
  local got=$?
  [ $got -eq "$code" ] || { echo "$what: exit code $got, expected $code"; cat "$work/err"; bad=1; }
  if [ "$code" -ne 0 ] && [ "$(wc -l <"$work/err")" -ne 1 ]; then
    echo "$what: expected one line on standard error, found:"; cat "$work/err"; bad=1
  fi
}
# ended CODE SIGNAL "what" COMMAND...: the same, with a signal once it has said something on standard output. (A shell lets
# what it runs in the background ignore SIGINT.)
ended() {
  local code=$1 signal=$2 what=$3 got
  shift 3
  rm -f "$work/out"
  env --default-signal=INT "$@" >"$work/out" 2>"$work/err" </dev/null &
  for _ in $(seq 1200); do [ -s "$work/out" ] && break; sleep 0.1; done
  kill -"$signal" $!
  wait $!
  got=$?
  [ $got -eq "$code" ] && [ "$(wc -l <"$work/err")" -eq 1 ] ||
    { echo "$what: exit code $got, expected $code and one line on standard error:"; cat "$work/err"; bad=1; }
}
contains() { grep -q -- "$2" "$work/$1" || { echo "expected '$2' in:"; cat "$work/$1"; bad=1; }; }

expect 0 "version" "$gregale" --version
expect 0 "help" "$gregale" --help
contains out "perplexity"
expect 0 "-h" "$gregale" run -h
contains out "max-tokens"
expect 0 "help COMMAND" "$gregale" help info
contains out "Usage: gregale info"
expect 0 "sampler help" "$gregale" chat --sampler help
contains out "threshold "
expect 2 "unknown command" "$gregale" frobnicate
expect 2 "bad option value" "$gregale" run "$model" -p x --seed twelve
expect 2 "no prompt argument" "$gregale" run
expect 2 "unknown option" "$gregale" run "$model" --nosuch
expect 2 "text twice" "$gregale" tokenize "$model" "$work/x" -p x
expect 2 "context of one" "$gregale" perplexity "$model" - --context 1
expect 2 "seed of 54 bits" "$gregale" run "$model" -p x --seed 9007199254740992
for sampler in 'magic(3)' 'top-k(40' 'top-k(-4)' ''; do
  expect 2 "sampler '$sampler'" "$gregale" run "$model" --raw -p x --sampler "$sampler"
  contains err "sampler"
done
printf '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}' >"$work/schema.json"
printf 'root ::= "yes" | "no"' >"$work/answer.gbnf"
expect 0 "schema" "$gregale" run "$model" --raw -p And --json-schema "$work/schema.json" --max-tokens 20 --seed 1
python3 -c 'import json,sys; assert type(json.load(open(sys.argv[1]))["a"]) is int' "$work/out" || { cat "$work/out"; bad=1; }
expect 0 "grammar" "$gregale" run "$model" --raw -p And --grammar "$work/answer.gbnf" --seed 1
grep -qxE 'yes|no' "$work/out" || { cat "$work/out"; bad=1; }
expect 0 "regular expression" "$gregale" run "$model" --raw -p And --regex '[a-d]{7}' --seed 1
grep -qxE '[a-d]{7}' "$work/out" || { cat "$work/out"; bad=1; }
expect 2 "bad regular expression" "$gregale" run "$model" --raw -p And --regex '(a'
contains err "--regex: regular expression, character 1"
printf '{"not": {}}' >"$work/not.json"
expect 3 "unsupported keyword" "$gregale" run "$model" --raw -p And --json-schema "$work/not.json"
contains err "not.json: JSON Schema, /not: this keyword is not supported"
expect 3 "schema that is not there" "$gregale" run "$model" --raw -p And --json-schema "$work/nowhere.json"
expect 2 "two constraints" "$gregale" run "$model" --raw -p And --regex a --grammar "$work/answer.gbnf"
expect 4 "no room for an answer" "$gregale" run "$model" --raw -p And --regex 'a{300}' --max-tokens 10
expect 2 "chat format" "$gregale" run "$model" -p x --chat-format nosuch
contains err "chatml"
expect 2 "empty file name" "$gregale" run "" -p x
expect 2 "empty device" "$gregale" run "$model" -p x --device ""
expect 2 "raw chat" "$gregale" chat "$model" --chat-format mistral-v1 --raw
expect 3 "chat from a directory" sh -c "'$gregale' chat '$model' --chat-format mistral-v1 </"
expect 3 "prompt from a closed input" sh -c "'$gregale' run '$model' --raw <&-"
expect 1 "closed output" sh -c "'$gregale' run '$model' --raw -p And --max-tokens 3 --trace '$work/closed.json' >&-"
python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$work/closed.json" || bad=1
expect 3 "script that is a directory" "$gregale" script "$work"
expect 1 "help to a full disk" sh -c "'$gregale' run --help >/dev/full"
expect 1 "version to a full disk" sh -c "'$gregale' --version >/dev/full"
expect 3 "trace that cannot be written" "$gregale" run "$model" --raw -p And --max-tokens 1 --trace /nonexistent/x
mkfifo "$work/pipe"
cat "$work/pipe" >"$work/piped" &
expect 0 "trace into a pipe" timeout 10 "$gregale" run "$model" --raw -p And --max-tokens 1 --trace "$work/pipe"
[ -p "$work/pipe" ] || { echo "the pipe was replaced by a file"; kill $!; bad=1; }
wait
expect 3 "missing file" "$gregale" run /nonexistent.gguf -p x
contains err "/nonexistent.gguf"
expect 5 "unknown device" "$gregale" run "$model" -p x --device warp
contains err "cpu"
expect 2 "prompt without -p" "$gregale" run "$model" hello
contains err "-p"
expect 0 "/set" sh -c "printf '/set seed 1.5\n/set temperature 101\n/set sampler magic\n/set seed 7\nAnd\n' | '$gregale' chat '$model' --chat-format mistral-v1 --max-tokens 2 --json"
contains out '"seed":7'
[ "$(grep -c '^/set' "$work/err")" -eq 3 ] || { echo "/set: expected three complaints:"; cat "$work/err"; bad=1; }
expect 0 "a prompt" "$gregale" run "$model" --chat-format mistral-v1 -p And --max-tokens 8 --seed 5
cp "$work/out" "$work/first"
expect 0 "the same, piped" sh -c "echo And | '$gregale' run '$model' --chat-format mistral-v1 --max-tokens 8 --seed 5"
cmp -s "$work/first" "$work/out" || { echo "a prompt from echo is another prompt"; bad=1; }
head -c 1000 "$model" >"$work/cut.gguf"
expect 3 "truncated file" "$gregale" info "$work/cut.gguf"
contains err "cut.gguf"
head -c 4096 /dev/urandom >"$work/noise.gguf"
expect 3 "garbage" "$gregale" info "$work/noise.gguf"
expect 3 "directory" "$gregale" info "$work"
expect 3 "base model in chat" "$gregale" chat "$model"

expect 0 "info" "$gregale" info "$model" --context 8192
contains out "window .*64 on every layer"
expect 0 "info --json" "$gregale" info "$model" --json
python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert d["windows"]==[64]*4, d' "$work/out" || bad=1
expect 0 "window off" "$gregale" info "$model" --sliding-window off
contains out "window .*none"
expect 0 "cache of Q8_0" "$gregale" info "$model" --context 8192 --cache-type q8_0
contains out "cache of Q8_0 0.4 MiB for 8192"
expect 2 "no such cache type" "$gregale" info "$model" --cache-type q4_0
contains err "q8_0"
expect 0 "greedy run" "$gregale" run "$model" --raw -p "In the beginning God" --max-tokens 8 --temperature 0
cp "$work/out" "$work/first"
expect 0 "greedy run on ref" "$gregale" run "$model" --raw -p "In the beginning God" --max-tokens 8 --temperature 0 --device ref
cp "$work/first" "$work/greedy"
cmp -s "$work/first" "$work/out" || { echo "cpu and ref disagree on 8 greedy tokens"; bad=1; }
expect 0 "json run" "$gregale" run "$model" --raw -p "And" --max-tokens 4 --seed 5 --json
python3 -c 'import json,sys; lines=[json.loads(l) for l in open(sys.argv[1])]; assert lines[-1]["type"]=="done" and lines[-1]["generated_tokens"]==4 and lines[-1]["seed"]==5' "$work/out" || bad=1
expect 0 "same seed, same text" "$gregale" run "$model" --raw -p "And" --max-tokens 16 --seed 5
cp "$work/out" "$work/first"
expect 0 "same seed, same text" "$gregale" run "$model" --raw -p "And" --max-tokens 16 --seed 5
cmp -s "$work/first" "$work/out" || { echo "the same seed gave another text"; bad=1; }
expect 0 "context filled" "$gregale" run "$model" --raw -p "And" --sampler "logit-bias(2:-inf)" --context 20
contains err "context of 20 positions is full"
for temperature in 1e-6 1e-30 1e-300; do
  expect 0 "temperature $temperature" "$gregale" run "$model" --raw -p "In the beginning God" --max-tokens 8 --temperature $temperature
  cmp -s "$work/out" "$work/greedy" || { echo "temperature $temperature is not greedy"; bad=1; }
done
# Snapshots: an answer cut in two by a file is the answer; everything else is refused in one line.
run=("$gregale" run "$model" --seed 5)
expect 0 "whole answer" "${run[@]}" --raw -p "In the beginning God" --max-tokens 90
cp "$work/out" "$work/whole"
expect 0 "first part, saved" "${run[@]}" --raw -p "In the beginning God" --max-tokens 40 --save "$work/talk.grs"
head -c -1 "$work/out" >"$work/first"
for way in cpu "cpu --chunk 7"; do
  expect 0 "second part, restored" "${run[@]}" --restore "$work/talk.grs" --max-tokens 50 --device $way
  cat "$work/first" "$work/out" | cmp -s - "$work/whole" || { echo "saved, restored ($way): another text"; bad=1; }
done
expect 0 "restored on ref, in Q8_0" "${run[@]}" --restore "$work/talk.grs" --max-tokens 3 --device ref --cache-type q8_0
chat=("$gregale" chat "$model" --chat-format mistral-v1 --max-tokens 12 --seed 9)
printf 'And the king said\nWho came?\n' | "${chat[@]}" >"$work/whole" 2>/dev/null
expect 0 "chat, saved" sh -c "echo 'And the king said' | '$gregale' chat '$model' --chat-format mistral-v1 --max-tokens 12 --seed 9 --save '$work/chat.grs'"
cp "$work/out" "$work/first"
expect 0 "chat, restored" sh -c "echo 'Who came?' | '$gregale' chat '$model' --chat-format mistral-v1 --max-tokens 12 --seed 9 --restore '$work/chat.grs'"
cat "$work/first" "$work/out" | cmp -s - "$work/whole" || { echo "a conversation saved and restored is another one"; bad=1; }
expect 0 "/save and /restore" sh -c "printf 'And the king said\n/save $work/a.grs\n/undo\n/restore $work/a.grs\nWho came?\n/restore $work/none\n/save\n' | '$gregale' chat '$model' --chat-format mistral-v1 --max-tokens 12 --seed 9"
cmp -s "$work/out" "$work/whole" || { echo "/save, /restore: another conversation"; bad=1; }
grep -q "$work/none" "$work/err" && grep -q "/save needs a file name" "$work/err" || { echo "/restore, /save:"; cat "$work/err"; bad=1; }
expect 0 "run asks a saved conversation" "${run[@]}" --chat-format mistral-v1 --restore "$work/chat.grs" -p "Who came?" --max-tokens 12 --seed 9
tail -n +2 "$work/whole" | cmp -s - "$work/out" || { echo "run --restore -p: another answer than chat's"; bad=1; }
expect 0 "/export and /import" sh -c "printf 'And\n/export $work/turns\n/import $work/turns\n/import $work/talk.grs\n' | '$gregale' chat '$model' --chat-format mistral-v1 --max-tokens 2"
contains err "not a conversation"
ended 143 TERM "an answer, ended" "$gregale" run "$model" --raw -p And --device ref --sampler "logit-bias(2:-inf)" --context 100000 --save "$work/cut.grs"
[ -s "$work/cut.grs" ] || { echo "an answer that was ended was not saved"; bad=1; }
expect 0 "what was ended goes on" "${run[@]}" --restore "$work/cut.grs" --max-tokens 2
expect 3 "a snapshot cut off" sh -c "head -c 5000 '$work/talk.grs' >'$work/short.grs'; exec '$gregale' run '$model' --restore '$work/short.grs' -p x"
contains err "short.grs: cut off"
expect 3 "a snapshot damaged" sh -c "{ head -c 5000 '$work/talk.grs'; printf x; tail -c +5002 '$work/talk.grs'; } >'$work/short.grs'; exec '$gregale' run '$model' --restore '$work/short.grs' -p x"
contains err "checksum"
expect 3 "no snapshot" "$gregale" run "$model" --restore "$model" -p x
contains err "not a snapshot"
expect 3 "a missing snapshot" "$gregale" run "$model" --restore "$work/none.grs" -p x
expect 3 "another model's snapshot" "$gregale" run "$(dirname "$model")/breeze-f16.gguf" --restore "$work/talk.grs" -p x
contains err "another model"
expect 3 "another window" "$gregale" run "$model" --sliding-window 32 --restore "$work/talk.grs" -p x
contains err "window of 64"
expect 3 "another chat format" "$gregale" run "$model" --chat-format chatml --restore "$work/chat.grs" -p x
contains err "mistral-v1"
expect 4 "a context too small" "$gregale" run "$model" --restore "$work/talk.grs" -p x --context 10
expect 2 "a system prompt too late" "$gregale" run "$model" --restore "$work/talk.grs" -p x --system y
expect 2 "an empty name" "$gregale" run "$model" -p x --save ""
expect 3 "no such folder" "$gregale" run "$model" --raw -p x --max-tokens 1 --save /nonexistent/x.grs
expect 3 "a full disk" "$gregale" run "$model" --raw -p x --max-tokens 1 --save /dev/full
[ -c /dev/full ] || { echo "/dev/full was replaced"; bad=1; }
cp "$work/talk.grs" "$work/kept.grs"
(ulimit -f 40; trap '' XFSZ; exec "$gregale" run "$model" --raw -p And --max-tokens 50 --save "$work/kept.grs") >"$work/out" 2>"$work/err" </dev/null
[ $? -eq 3 ] && cmp -s "$work/talk.grs" "$work/kept.grs" && [ -z "$(ls "$work"/kept.grs.* 2>/dev/null)" ] ||
  { echo "a file that did not fit was not left alone:"; cat "$work/err"; bad=1; }
GREGALE_PLUGIN_PATH=$(realpath "$(dirname "$gregale")/../tests/far" 2>/dev/null || true)
export GREGALE_PLUGIN_PATH
for device in cpu ref $([ -d "$GREGALE_PLUGIN_PATH" ] && echo far); do
  rm -f "$work/first"
  for way in "1 512" "2 512" "3 16"; do
    expect 0 "branches on $device, threads and chunk $way" "$gregale" script "$(dirname "$0")/branches.lua" "$model" $device $way
    [ -f "$work/first" ] || cp "$work/out" "$work/first"
    cmp -s "$work/first" "$work/out" || { echo "forks on $device: threads and chunk $way gave other texts"; bad=1; }
  done
done
expect 4 "context too small" "$gregale" run "$model" --raw -p "And it came to pass in those days that there went out a decree" --context 4
expect 0 "not UTF-8" sh -c "printf 'a\\377b' | '$gregale' run '$model' --raw --max-tokens 1 --temperature 0 -p \"\$(printf 'a\\377b')\""
expect 0 "tokenize" "$gregale" tokenize "$model" -p "In the beginning"
expect 0 "perplexity" sh -c "head -c 3000 '$(dirname "$0")/../golden/models/breeze-heldout.txt' | '$gregale' perplexity '$model' -"
contains out "perplexity"
# Two devices, or two files, side by side: the other device is near, the same is the same, and the figures are those
# that Lua makes of logits taken one at a time.
heldout=$(dirname "$0")/../golden/models/breeze-heldout.txt
f16=$(dirname "$model")/breeze-f16.gguf
against=("$gregale" perplexity "$model" "$heldout" --json --against)
last() { python3 -c 'import json,sys; d=json.loads(list(open(sys.argv[1]))[-1]); assert eval(sys.argv[2]), d' "$work/out" "$1" || bad=1; }
expect 0 "perplexity against itself" "${against[@]}" cpu --device cpu --tokens 200
last 'd["tokens"] == 199 and d["ratio"] == 1 and d["largest_divergence"] == 0 and d["same_top"] == 1'
expect 0 "perplexity in windows" "${against[@]}" cpu --device cpu --tokens 200 --context 50
last 'd["tokens"] == 196'
expect 0 "cpu beside ref, Q8_0" "${against[@]}" ref --device cpu --tokens 700
last 'd["mean_divergence"] < 5e-4 and d["same_top"] > 0.98 and abs(d["ratio"] - 1) < 3e-3'
expect 0 "cpu beside ref, F16" "$gregale" perplexity "$f16" "$heldout" --json --device cpu --against ref --tokens 700
last 'd["mean_divergence"] < 1e-6 and d["same_top"] > 0.998 and abs(d["ratio"] - 1) < 1e-4'
expect 0 "perplexity --against-model" "$gregale" perplexity "$model" "$heldout" --json --against-model "$f16" --tokens 60
cp "$work/out" "$work/first"
expect 0 "the same from logits" "$gregale" script "$(dirname "$0")/agreement.lua" "$model" "$f16" "$heldout" 60
python3 - "$work/first" "$work/out" <<'EOF' || bad=1
import json, sys
ours, lua = (json.loads(list(open(path))[-1]) for path in sys.argv[1:])
for name in ("ratio", "mean_divergence", "same_top"):
    assert abs(ours[name] / lua[name] - 1) < 1e-5, (name, ours, lua)
EOF
expect 0 "perplexity --against for people" "$gregale" perplexity "$model" "$heldout" --against-model "$f16" --tokens 60
contains out "ratio of perplexities"
ended 130 INT "perplexity, interrupted" "$gregale" perplexity "$f16" "$heldout" --json --device ref
expect 1 "perplexity that nobody reads" sh -c "{ '$gregale' perplexity '$model' '$heldout' --json; echo \$? >&3; } 3>'$work/code' | head -n 1; exit \$(cat '$work/code')"
expect 5 "against no such device" "${against[@]}" warp
expect 3 "against a broken file" "$gregale" perplexity "$model" "$heldout" --against-model "$work/cut.gguf"
expect 3 "against another vocabulary" "$gregale" perplexity "$model" "$heldout" --against-model "$(dirname "$0")/../golden/models/w8-gqa4.gguf"
expect 2 "against nothing" "${against[@]}" ""
expect 0 "devices --json" "$gregale" devices --json
python3 -c 'import json,sys; json.load(open(sys.argv[1]))' "$work/out" || bad=1
expect 0 "trace" "$gregale" run "$model" --raw -p "And" --max-tokens 2 --trace "$work/trace.json"
python3 -c 'import json,sys; t=json.load(open(sys.argv[1])); assert any(e["name"]=="MATMUL" for e in t)' "$work/trace.json" || bad=1
printf '#!/usr/bin/env -S gregale script\nlocal a, b = ...\nprint(#arg, a, b, arg[2])\n' >"$work/executable"
chmod +x "$work/executable"
expect 0 "a script that is a program" env PATH="$(realpath "$(dirname "$gregale")"):$PATH" "$work/executable" one "two words"
contains out "^2	one	two words	two words$"
expect 0 "a script from a pipe, without -" sh -c "echo 'print(#arg, 6 * 7)' | '$gregale' script"
contains out "^0	42$"
expect 0 "nothing from a pipe" "$gregale" script
printf 'local function inner()\n  error("wrong")\nend\nrequire("gregale").parallel{ function()\n  inner()\nend }\n' >"$work/wrong.lua"
"$gregale" script "$work/wrong.lua" >"$work/out" 2>"$work/err"
[ $? -eq 6 ] || { echo "a script's error: expected exit code 6"; bad=1; }
for place in 'wrong.lua:2: wrong' 'wrong.lua:5: in function <' 'wrong.lua:4: in main chunk'; do contains err "$place"; done
expect 0 "pipeline" "$gregale" script "$(dirname "$0")/../../scripts/pipelines/quickstart.lua" "$model"
contains out "breeze"
expect 0 "bench" "$gregale" bench "$model" --prompt 16 --gen 4 --repeat 1 --json
contains out decode_tokens_per_second
expect 0 "limits" "$gregale" bench --limits --threads 1 --json
python3 -c 'import json,sys; d=json.load(open(sys.argv[1])); assert d["read_bytes_per_second"]>0 and d["f32_operations_mix"], d' "$work/out" || bad=1

# A peer that prints what llama-bench does: a word of its own, an array, figures that change with each call.
cat >"$work/peer" <<'EOF'
#!/bin/sh
echo x >>"$0.calls"
echo "model loaded"
printf '[\n {"n_prompt": 16, "n_gen": 0, "avg_ts": %d.5},\n {"n_prompt": 0, "n_gen": 4, "avg_ts": 10}\n]\n' "$(wc -l <"$0.calls")"
EOF
chmod +x "$work/peer"
quick=(bench "$model" --prompt 16 --gen 4)
expect 0 "bench --compare" "$gregale" "${quick[@]}" --repeat 5 --json --compare "$work/peer" --compare "$work/peer"
python3 - "$work/out" "$work/peer.calls" <<'EOF' || bad=1
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert [line["type"] for line in lines] == ["limits", "bench", "compare", "compare"], lines
assert lines[2]["pairs"] == 5 and lines[2]["their_decode_tokens_per_second"] == 10, lines[2]
ratio = [lines[2]["prefill_ratio" + end] for end in ("_min", "_low", "", "_high", "_max")]
assert ratio == sorted(ratio) and ratio[0] == ratio[1] > 0, ratio
assert len(open(sys.argv[2]).readlines()) == 12, "one call of each peer a round, and one to warm up"
EOF
expect 0 "bench --compare for people" "$gregale" "${quick[@]}" --repeat 1 --compare "$work/peer"
contains out "fewer than 5 rounds give no bound"
expect 0 "bench against itself" "$gregale" "${quick[@]}" --repeat 1 --compare "'$gregale' bench '$model' --prompt 16 --gen 4 --repeat 1 --json"
expect 3 "peer that fails" "$gregale" "${quick[@]}" --compare 'echo no such model >&2; exit 9'
contains err "code 9: no such model"
expect 3 "peer that says nothing" "$gregale" "${quick[@]}" --compare 'echo 25 tokens a second'
contains err "printed no result"
expect 3 "peer that measures another prompt" "$gregale" "${quick[@]}" --compare 'echo "{\"n_prompt\": 8, \"n_gen\": 0, \"avg_ts\": 5}"'
contains err "prompt 8"
expect 3 "peer without a rate" "$gregale" "${quick[@]}" --compare 'echo "{\"n_prompt\": 16, \"n_gen\": 0, \"avg_ts\": \"fast\"}"'
contains err "without a rate"
expect 2 "five peers" "$gregale" "${quick[@]}" --compare a --compare b --compare c --compare d --compare e
exit $bad
