#!/usr/bin/env bash
# What `gregale backend test` says: verdicts, JSON, lists of known failures, seeds. Usage: backend-test.sh BUILD_FOLDER
set -u
build=$(cd "$1" && pwd)
gregale=$build/bin/gregale
mutants=$build/tests/mutants plugins=$build/tests/plugins
ref=$build/backends/gregale-backend-ref.so
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

# expect CODE "what" ARGUMENT...: runs `gregale backend test`; its exit code must be CODE.
expect() {
  local code=$1 what=$2 got
  shift 2
  "$gregale" backend test "$@" >"$work/out" 2>"$work/err"
  got=$?
  [ $got -eq "$code" ] || { echo "$what: exit code $got, expected $code"; tail -n 5 "$work/out" "$work/err"; bad=1; }
}
contains() { grep -q -- "$2" "$work/$1" || { echo "expected '$2' in:"; head -n 20 "$work/$1"; bad=1; }; }

expect 0 "one part" "$ref" --op SOFTMAX --verbose
contains out "^ref: device ref .* cases, seed "
contains out "^pass  SOFTMAX"
expect 0 "json" "$ref" --op ADD --json --level ops
python3 - "$work/out" <<'PY' || bad=1
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
assert lines[0]["type"] == "device" and lines[0]["backend"] == "ref" and lines[0]["cases"] == len(lines) - 2, lines[0]
assert all(c["type"] == "case" and c["verdict"] == "pass" and c["level"] == "ops" for c in lines[1:-1])
assert lines[-1]["type"] == "done" and lines[-1]["good"] and lines[-1]["pass"] == len(lines) - 2, lines[-1]
PY

echo "usage"
expect 2 "no file"
expect 2 "unknown level" "$ref" --level deep
expect 2 "unknown defect" "$ref" --plant rust
expect 2 "no such case" "$ref" --only "no such case"
expect 3 "no such list" "$ref" --known "$work/none"
for device in 7 4294967296 -1 nope ""; do
  expect 2 "no device '$device'" "$ref" --device "$device" --level abi
  contains err "no device"
done
expect 0 "a device by number" "$ref" --device 0 --op COPY
for levels in "" , abi, ,abi; do expect 2 "levels '$levels'" "$ref" --level "$levels"; done
expect 2 "no time" "$ref" --timeout 0
expect 0 "a defect, as JSON" "$ref" --op COPY --plant unwritten --json
python3 - "$work/out" <<'PY' || bad=1
import json, sys
done = [json.loads(line) for line in open(sys.argv[1])][-1]
assert done["type"] == "done" and done["planted"] == "unwritten" and done["found"] is True, done
PY

echo "a seed repeats a run"
for seed in 5 5 6; do
  expect 0 "seed $seed" "$ref" --op MATMUL --only "Q4_0 M=3" --json --seed $seed
  grep -o '"name":.*"worst":[^,]*' "$work/out" >"$work/seed$seed.new"
  [ -f "$work/seed$seed" ] && { cmp -s "$work/seed$seed" "$work/seed$seed.new" || { echo "seed $seed gave two runs"; bad=1; }; }
  mv "$work/seed$seed.new" "$work/seed$seed"
done
cmp -s "$work/seed5" "$work/seed6" && { echo "two seeds gave one run"; bad=1; }

echo "known failures"
expect 1 "as it is" "$mutants/mutant-abort.so" --op ADD
contains out "^crash ADD T=17 D=1: killed by signal 6"
contains out ", 0 failed, 3 crashed, 0 hung"
printf '# until ADD is mended\nADD T=17*\n' >"$work/known"
expect 0 "known" "$mutants/mutant-abort.so" --op ADD --known "$work/known"
contains out "3 known failures, 0 passed unexpectedly"
echo "ADD T=3 D=67" >>"$work/known"
expect 1 "mended meanwhile" "$mutants/mutant-abort.so" --op ADD --known "$work/known"
contains out "^unexpected pass ADD T=3 D=67"

echo "batches give the same verdicts"
expect 1 "a batch" "$mutants/mutant-abort.so" --op ADD --batch 8
contains out ", 0 failed, 3 crashed, 0 hung"

echo "claiming nothing"
expect 1 "claims nothing" "$mutants/mutant-silent.so" --level ops --op ADD
contains out "it claims nothing"
expect 1 "claims nothing, by models" "$mutants/mutant-silent.so" --level model
contains out "it claims nothing"
expect 0 "claims nothing, by its table alone" "$mutants/mutant-silent.so" --level abi
contains out ", 0 failed, 0 crashed, 0 hung"
expect 0 "claims nothing, at work" "$mutants/mutant-silent.so" --level live --only LIVE
contains out ", 0 failed, 0 crashed, 0 hung"
expect 1 "incomplete" "$build/tests/template/gregale-backend-template.so" --op COPY --complete
contains out "incomplete: "

echo "plugins that cannot be judged"
# said SET/PLUGIN "text": the case LOAD ends so.
patience=60
said() {
  expect 1 "$1" "$plugins/${1%/*}/gregale-backend-${1##*/}.so" --level abi --timeout $patience
  contains out "$2"
}
said hostile/crash "crash LOAD: killed by signal 11"
said hostile/abort "crash LOAD: killed by signal 6"
said hostile/exit "crash LOAD: the process ended too early"
said hostile/endless "fail  LOAD: it reports 4294967295 devices"
said hostile/fails "fail  LOAD: probe: driver ?\[31mmissing?second line"
said hostile/unended "fail  LOAD: a device whose name"
said hostile/silent "fail  LOAD: "
said hostile/no_symbol "fail  LOAD: it exports no gregale_plugin_entry"
said hostile/null "fail  LOAD: it cannot work with plugin interface"
said hostile/major "fail  LOAD: made for plugin interface"
said hostile/short "fail  LOAD: its table has 64 bytes"
said hostile/huge "fail  LOAD: its table claims"
said hostile/tail "fail  LOAD: its table is longer"
said hostile/lacks "fail  LOAD: its table lacks the function kv_resize"
said hostile/bad_name "fail  LOAD: its name is not"
said hostile/flags "fail  LOAD: asks for something"
said careless/mute "fail  LOAD: queue_create: out of memory"
said careless/mumbles "fail  LOAD: queue_create: A*"
said careless/drives "fail  LOAD: queue_create: odd?\[31m"
said careless/opens_nothing "fail  LOAD: open: it answers OK and opens nothing"
patience=2
said hanging/hang "hang  LOAD: "
head -c 3000 "$ref" >"$work/cut.so"
expect 1 "cut off" "$work/cut.so"
contains out "fail  LOAD: the file is cut off"

echo "bench"
"$gregale" backend bench "$build/tests/template/gregale-backend-template.so" --rows 8 --budget 0.001 --threads 2 --json >"$work/out" ||
  { echo "bench failed"; bad=1; }
python3 - "$work/out" <<'PY' || bad=1
import json, sys
lines = [json.loads(line) for line in open(sys.argv[1])]
kinds = [line["type"] for line in lines]
assert kinds[0] == "limits" and kinds.count("product") == 6 and kinds.count("cache") == 1, kinds
assert all(p["read_bytes_per_second"] > 0 and 0 < p["operations_per_second_of_limit"] < 2 for p in lines if p["type"] == "product")
assert {n["name"] for n in lines if n["type"] == "node"} >= {"EMBED", "ROPE", "ATTENTION F16 of 4096"}
assert {"name": "TOPK", "level": "no", "reason": "not written yet", "type": "claim"} in lines
PY
"$gregale" backend bench 2>"$work/err"
[ $? -eq 2 ] || { echo "bench without a file: expected exit code 2"; bad=1; }
"$gregale" backend bench "$plugins/hostile/gregale-backend-null.so" 2>"$work/err"
[ $? -ne 0 ] && grep -q "cannot work with plugin interface" "$work/err" || { echo "bench of a plugin that refuses:"; cat "$work/err"; bad=1; }
# A plugin that fails without a word, or with one that does not end.
for way in mute mumbles drives opens_nothing; do
  "$gregale" backend bench "$plugins/careless/gregale-backend-$way.so" >"$work/out" 2>"$work/err"
  code=$?
  case $way in
    mute) expected=4 text="gregale: out of memory" ;;
    mumbles) expected=4 text="^gregale: A*$" ;;
    drives) expected=4 text="^gregale: odd?\[31m$" ;;
    opens_nothing) expected=1 text="cannot be opened: it opened nothing" ;;
  esac
  [ $code -eq $expected ] || { echo "bench $way: exit code $code, expected $expected"; bad=1; }
  contains err "$text"
done
exit $bad
