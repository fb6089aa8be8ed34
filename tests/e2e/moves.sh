#!/usr/bin/env bash
# Moves, shadows and failing devices on the command line: ref and far compute alike, so an answer is the same text
# wherever it went on.
# Usage: moves.sh PATH_TO_GREGALE
set -uo pipefail
gregale=$1
model=$(dirname "$0")/../../configs/models/breeze/breeze-q8_0.gguf
GREGALE_PLUGIN_PATH=$(realpath "$(dirname "$gregale")/../tests/far" 2>/dev/null)
[ -d "$GREGALE_PLUGIN_PATH" ] || { echo "skipped: far is not built"; exit 77; }
export GREGALE_PLUGIN_PATH
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
contains() { grep -q -- "$2" "$work/$1" || { echo "expected '$2' in:"; cat "$work/$1"; bad=1; }; }
same() { cmp -s "$work/unmoved" "$work/out" || { echo "$1: another text:"; cat "$work/out"; bad=1; }; }
json() { python3 -c 'import json,sys; d=[json.loads(l) for l in open(sys.argv[1])]; assert eval(sys.argv[2]), d' "$work/out" "$1" || bad=1; }

text="In the beginning God created the heaven and the earth. And the earth was without form, and void."
answer=(run "$model" --raw -p "$text" --max-tokens 40 --seed 5)
expect 0 "unmoved" "$gregale" "${answer[@]}" --device ref
mv "$work/out" "$work/unmoved"
[ "$(wc -w <"$work/unmoved")" -gt 5 ] || { echo "the answer is too short to say anything"; bad=1; }

# --move-at
for way in "ref 0:far" "ref 5:far" "far 5:ref" "far 1:far" "ref 7:ref:2,far"; do
  set -- $way
  expect 0 "moved, $way" "$gregale" "${answer[@]}" --device "$1" --move-at "$2"
  same "moved, $way"
  contains err "moved from $1 to"
done
expect 0 "moved, as JSON" "$gregale" "${answer[@]}" --device ref --move-at 5:far --json
json 'd[-1]["type"] == "move" and d[-1]["from"] == "ref" and d[-1]["to"] == "far" and d[-1]["moved"] and d[-1]["pages"] > 0'
json 'd[-1]["compared"] == d[-1]["agreed"] == 1 and d[-1]["difference"] <= d[-1]["bound"] and d[-1]["pause_seconds"] > 0'
json 'd[-2]["type"] == "done" and d[-2]["generated_tokens"] == 40'
expect 0 "quiet" "$gregale" "${answer[@]}" --device ref --move-at 5:far -q
[ -s "$work/err" ] && { echo "a quiet move says:"; cat "$work/err"; bad=1; }
expect 0 "too late" "$gregale" "${answer[@]}" --device ref --move-at 500:far
same "too late"
contains err "not moved: the answer ended before token 500"
expect 5 "moved to no such device" "$gregale" "${answer[@]}" --device ref --move-at 5:warp
same "moved to no such device"
contains err "no device is called warp"
for value in 5 5: :far x:far -1:far 5000000000:far; do
  expect 2 "--move-at $value" "$gregale" "${answer[@]}" --move-at $value
  contains err "--move-at"
done

# --shadow
for way in "if-equal moved" "anyway moved" "never not.moved"; do
  set -- $way
  expect 0 "shadow, $1" "$gregale" "${answer[@]}" --device ref --shadow 8:far --shadow-policy "$1"
  same "shadow, $1"
  contains err "far beside ref: 8 of 8 tokens compared, 8 agree, logits within 0 of .*; $2"
done
expect 0 "shadow, as JSON" "$gregale" "${answer[@]}" --device ref --shadow 8:cpu --shadow-policy never --json
json 'd[-1]["type"] == "shadow" and d[-1]["compared"] == d[-1]["agreed"] == 8 and not d[-1]["moved"]'
json '0 < d[-1]["difference"] <= d[-1]["bound"] and "first_divergence" not in d[-1]'
expect 0 "shadow longer than the answer" "$gregale" "${answer[@]}" --device ref --shadow 500:far
same "shadow longer than the answer"
contains err "of 500 tokens compared.*not moved"
expect 2 "shadow of nothing" "$gregale" "${answer[@]}" --shadow 0:far
expect 2 "shadow policy" "$gregale" "${answer[@]}" --shadow 3:far --shadow-policy perhaps
expect 2 "policy without a shadow" "$gregale" "${answer[@]}" --shadow-policy never
expect 2 "a shadow and a move" "$gregale" "${answer[@]}" --shadow 3:far --move-at 3:far

# Pages are copied between steps, while tokens come: one page a slice where a copy takes long.
prompt=$(for _ in {1..15}; do echo "$text"; done)
GREGALE_FAR_LATE_US=700 expect 0 "traced" "$gregale" run "$model" --raw -p "$prompt" --seed 5 \
  --max-tokens 40 --sliding-window off --device ref --move-at 2:far --trace "$work/trace.json"
python3 - "$work/trace.json" <<'EOF' || bad=1
import json, sys
events = sorted(json.load(open(sys.argv[1])), key=lambda event: event["ts"])
copies = [event for event in events if event["name"] == "COPY_AHEAD"]
steps = [event for event in events if event["name"] == "EMBED"]  # one a step
assert len(copies) >= 3, f"{len(copies)} slices"
assert all(copy["cat"] == "move" for copy in copies)
for one, next in zip(copies, copies[1:]):
    between = [step for step in steps if one["ts"] + one["dur"] <= step["ts"] and step["ts"] + step["dur"] <= next["ts"]]
    assert between, "two slices without a step between them"
assert [e["name"] for e in events if e["cat"] == "move" and e["name"] != "COPY_AHEAD"] == ["CHECK", "SWITCH"]
EOF

# /device in the middle of a conversation
talk() { printf '%s\n' "$@" | "$gregale" chat "$model" --chat-format mistral-v1 --device ref --seed 3 --max-tokens 20; }
talk And So Then >"$work/unmoved" 2>"$work/err" || { echo "a conversation"; cat "$work/err"; bad=1; }
talk And "/device far" So "/device ref" Then >"$work/out" 2>"$work/err" || { echo "/device"; cat "$work/err"; bad=1; }
same "/device far"
talk And "/device warp" So Then >"$work/out" 2>"$work/err" || { echo "/device warp"; cat "$work/err"; bad=1; }
same "/device warp"
contains err "no device is called warp"
talk And "/device far" "/device" "/undo" "/regen" >"$work/out" 2>"$work/err" || { echo "/device, /undo"; cat "$work/err"; bad=1; }
contains out "^far; there are:.* ref"

# A device that does not answer in time: the answer goes on with another.
greedy=(run "$model" --raw -p "In the beginning God" --max-tokens 8 --temperature 0)
expect 0 "greedy" "$gregale" "${greedy[@]}" --device ref
mv "$work/out" "$work/unmoved"
GREGALE_STEP_TIMEOUT=0.05 GREGALE_FAR_LATE_US=150000 expect 0 "a device that hangs" "$gregale" "${greedy[@]}" --device far
same "a device that hangs"
contains err "device far: a step has not ended within 0.05 s; going on with "
exit $bad
