#!/usr/bin/env bash
# What discovery survives, and what `gregale devices --why` says of it. Usage: discovery.sh BUILD_FOLDER
set -u
build=$(cd "$1" && pwd)
gregale=$build/bin/gregale
model=$(cd "$(dirname "$0")/../.." && pwd)/configs/models/breeze/breeze-q8_0.gguf
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0
contains() { grep -q -- "$2" "$work/$1" || { echo "expected '$2' in:"; cat "$work/$1"; bad=1; }; }

echo "plugins that end the process while they are asked, and files that are no plugins:"
mkdir "$work/plugins"
cp "$build"/tests/plugins/rude/*.so "$work/plugins"
head -c 3000 "$build/backends/gregale-backend-ref.so" >"$work/plugins/gregale-backend-cut.so"
echo "no library" >"$work/plugins/gregale-backend-text.so"
export GREGALE_PLUGIN_PATH=$work/plugins
"$gregale" devices --why >"$work/text" || { echo "devices --why failed"; bad=1; }
contains text "refused   $work/plugins/gregale-backend-crash.so: its probe crashed in the helper process (Segmentation fault)"
contains text "refused   $work/plugins/gregale-backend-exit.so: its probe ended the helper process"
contains text "refused   $work/plugins/gregale-backend-entry_abort.so: loading it crashed in the helper process (Aborted)"
contains text "refused   $work/plugins/gregale-backend-entry_hang.so: loading it did not end within"
contains text "refused   $work/plugins/gregale-backend-constructor.so: loading it crashed in the helper process (Segmentation fault)"
contains text "refused   $work/plugins/gregale-backend-wild_table.so: loading it crashed in the helper process (Segmentation fault)"
contains text "refused   $work/plugins/gregale-backend-wild_name.so: loading it crashed in the helper process (Segmentation fault)"
contains text "refused   $work/plugins/gregale-backend-cut.so: the file is cut off"
contains text "refused   $work/plugins/gregale-backend-text.so: not a shared object"
contains text "^choice    cpu: the best score"
rm "$work/plugins/gregale-backend-entry_hang.so" # each run waits ten seconds for it
answer=$("$gregale" run "$model" --raw -p "In the beginning" --max-tokens 4 --temperature 0)
[ -n "$answer" ] || { echo "no answer beside them"; bad=1; }

echo "the same as JSON:"
"$gregale" devices --why --json >"$work/json" || bad=1
python3 - "$work/json" "$work/plugins" <<'PY' || bad=1
import json, sys
why = json.load(open(sys.argv[1]))
machine = why["machine"]
assert machine["cores"] >= 1 and machine["threads"] >= machine["cores"] and machine["memory_bytes"] > 0
assert sum(machine["cores_by_kind"]) == machine["cores"] and machine["default_threads_on"]
assert all(cache["bytes"] > 0 for cache in machine["caches"]) and machine["pci"] is None
refused = {p["path"]: p["reason"] for p in why["plugins"] if not p["accepted"]}
assert len(refused) == 8 and all(path.startswith(sys.argv[2]) and reason for path, reason in refused.items()), refused
devices = {d["name"]: d for d in why["devices"]}
assert devices["cpu"]["score"] > devices["ref"]["score"] and devices["ref"]["batch_invariant"], devices
assert all(d["reason"] for d in devices.values())
assert why["choice"]["device"] == "cpu" == why["devices"][0]["name"] and why["choice"]["reason"]
PY
echo "measuring one of them:"
"$gregale" backend bench "$work/plugins/gregale-backend-wild_table.so" 2>"$work/text"
[ $? -eq 5 ] || { echo "bench: expected exit code 5"; bad=1; }
contains text "loading it crashed in the helper process"
exit $bad
