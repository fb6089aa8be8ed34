#!/usr/bin/env bash
# Installs into a scratch directory and uses only what is there: a C program by pkg-config and by
# find_package, the command, and what the library exports and needs. Usage: installed.sh BUILD_FOLDER
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
DESTDIR= cmake --install "$build" --prefix "$root" >"$work/install.log"
lib=$(dirname "$(find "$root" -name libgregale.so)")
export GREGALE_PLUGIN_PATH=$lib/gregale/backends
model=$source/configs/models/breeze/breeze-q8_0.gguf

echo "pkg-config:"
flags=$(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --define-variable=prefix="$root" --define-variable=libdir="$lib" \
        --define-variable=includedir="$root/include" --cflags --libs gregale)
# shellcheck disable=SC2086
cc -std=c11 -Wall -Werror "$source/tests/e2e/embed/embed.c" -o "$work/embed" $flags
LD_LIBRARY_PATH=$lib "$work/embed" "$model"

echo "find_package:"
cmake -S "$source/tests/e2e/embed" -B "$work/cmake" -DCMAKE_PREFIX_PATH="$root" >"$work/cmake.log"
cmake --build "$work/cmake" >>"$work/cmake.log"
LD_LIBRARY_PATH=$lib "$work/cmake/embed" "$model"

echo "command:"
"$root/bin/gregale" --version
"$root/bin/gregale" devices | grep -q '^ref '
(cd / && "$root/bin/gregale" script "$root/share/gregale/pipelines/complete.lua" "$model" "And" --max-tokens 2 | grep -q '^And')

echo "a plain lua5.4:"
export LUA_CPATH="$lib/lua/5.4/?.so;;"
lua5.4 - "$model" <<'EOF'
local gregale = require "gregale"
local session = gregale.load(arg[1]):session():append("In the beginning God")
local texts = gregale.parallel{
  function() return (session:fork():generate{ max_tokens = 4, temperature = 0 }) end,
  function() return require("gregale.beam").search(session, { width = 1, max_tokens = 4 })[1].text end }
assert(#texts[1] > 0 and texts[1] == texts[2], texts[1])
local fine, message = pcall(session.generate, session, { max_tokens = 0 })
assert(not fine and message:find("max_tokens", 1, true))
EOF
(cd "$source/tests/e2e" && MODEL=$model busted --lua=lua5.4 --output=TAP embed/gregale_spec.lua)
names=$(nm -D --defined-only "$lib/lua/5.4/gregale.so" | awk '{print $3}' | sed 's/@.*//' | sort -u)
[ "$names" = luaopen_gregale ] || { echo "gregale.so exports: $names"; exit 1; }
readelf -d "$lib/lua/5.4/gregale.so" >"$work/needed"
! grep -q 'NEEDED.*liblua' "$work/needed" || { echo "gregale.so brings a liblua of its own"; exit 1; }
[ -f "$root/share/gregale/annotations/gregale.lua" ]

echo "exports:"
bad=$(nm -D --defined-only "$lib/libgregale.so" | awk '{print $3}' | grep -vE '^gr_' || true)
[ -z "$bad" ] || { echo "libgregale exports: $bad"; exit 1; }
for plugin in "$lib"/gregale/backends/*.so; do
  names=$(nm -D --defined-only "$plugin" | awk '{print $3}')
  [ "$names" = gregale_plugin_entry ] || { echo "$plugin exports: $names"; exit 1; }
  undefined=$(nm -D --undefined-only "$plugin" | awk '{print $2}' | grep '^gr' || true)
  [ -z "$undefined" ] || { echo "$plugin needs symbols of the host: $undefined"; exit 1; }
done
echo "headers: no linked/ header is installed"
[ ! -e "$root/include/gregale/linked" ]
