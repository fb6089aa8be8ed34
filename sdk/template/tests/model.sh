#!/bin/sh
# A model writes the same on mydevice as on ref. Usage: model.sh GREGALE PLUGIN_FOLDER MODEL
set -eu
export GREGALE_PLUGIN_PATH="$2"
answer() {
  "$1" run "$2" --raw -p "In the beginning God created" --max-tokens 24 --temperature 0 --device "$3"
}
ours=$(answer "$1" "$3" mydevice)
theirs=$(answer "$1" "$3" ref)
printf 'mydevice: %s\nref: %s\n' "$ours" "$theirs"
[ "$ours" = "$theirs" ]
