#!/usr/bin/env bash
# The walk of docs/backend-guide.md, against what is installed: each patch applies, builds and passes; the guide's excerpts are
# lines of that code. Usage: guide.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
DESTDIR= cmake --install "$build" --prefix "$root" >"$work/install.log"
gregale=$root/bin/gregale guide=$root/share/gregale/backend-guide.md model=$root/share/gregale/models/breeze-q8_0.gguf
cd "$work"
"$gregale" backend new tramontane
mkdir seen # every file as it was at some step
keep() { for file in tramontane/src/*; do cp "$file" "seen/$1-$(basename "$file")"; done; }
keep 0
export CMAKE_PREFIX_PATH=$root CFLAGS=-Werror
cmake -S tramontane -B build >cmake.log
plugin=build/backends/gregale-backend-tramontane.so

# step N ARGUMENT...: applies patch N, builds, and lets the suite judge what ARGUMENTs say.
step() {
  local number=$1 patch
  shift
  patch=$(echo "$root"/share/gregale/walk/"$number"-*.patch)
  echo "$(head -n 1 "$patch")"
  sed 's/mydevice/tramontane/g; s/MYDEVICE/TRAMONTANE/g' "$patch" | patch -s -d tramontane -p1
  keep "$number"
  cmake --build build >build.log || { cat build.log; exit 1; }
  "$gregale" backend test "$plugin" --batch 32 "$@" >verdict || { cat verdict; exit 1; }
  tail -n 1 verdict
  grep -q "[1-9][0-9]* passed" verdict
}
step 1 --op MUL
step 2 --op MATMUL
"$gregale" backend test "$plugin" --batch 32 --op INVARIANCE | tail -n 1
step 3 --op FUSION --only FFN_BLOCK --same-bits
step 4 --level abi,model,live
"$gregale" backend test "$plugin" --batch 32 --op VALUES | tail -n 1

echo "the text of ref:"
answer() { "$gregale" run "$model" --raw -p "In the beginning God created" --max-tokens 24 --temperature 0 --device "$1"; }
theirs=$(answer ref)
ours=$(GREGALE_PLUGIN_PATH=$work/build/backends answer tramontane)
[ -n "$ours" ] && [ "$ours" = "$theirs" ] || { echo "it writes '$ours', ref '$theirs'"; exit 1; }

echo "excerpts:"
python3 - "$guide" "$root/include/gregale" seen <<'PY'
import pathlib, re, sys
guide, folders = pathlib.Path(sys.argv[1]).read_text(), [pathlib.Path(name) for name in sys.argv[2:]]
squeeze = lambda text: "\n".join(line.strip() for line in text.splitlines() if line.strip())
known = [squeeze(path.read_text()) for folder in folders for path in folder.rglob("*") if path.is_file()]
blocks = re.findall(r"^```c\n(.*?)^```", guide, flags=re.S | re.M)
for block in blocks:
    for piece in re.split(r"^\s*\.\.\.\s*$", block, flags=re.M): # "..." stands for lines left out
        if not any(squeeze(piece) in text for text in known):
            sys.exit(f"no such lines in the code:\n{piece}")
print(len(blocks), "are lines of the code")
assert len(blocks) >= 7
PY
