#!/usr/bin/env bash
# The plugin interface keeps its promises: the headers append only, plugins compiled long ago still work, and the check
# of the headers can fail. Usage: abi.sh BUILD_FOLDER
set -u
source=$(cd "$(dirname "$0")/../.." && pwd)
build=$(cd "$1" && pwd)
gregale=$build/bin/gregale
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
bad=0

"$source/scripts/dev/abi" check || bad=1

echo "changes that must be found:"
# refuse "message" SED_SCRIPT HEADER: the check of a tree changed so must fail and say so.
refuse() {
  rm -rf "$work/tree"
  mkdir -p "$work/tree/core" "$work/tree/tests" "$work/tree/scripts/dev"
  cp -r "$source/core/include" "$work/tree/core/include"
  cp -r "$source/tests/abi" "$work/tree/tests/abi"
  cp "$source/scripts/dev/abi" "$work/tree/scripts/dev/abi"
  sed -i "$2" "$work/tree/core/include/gregale/$3"
  cmp -s "$source/core/include/gregale/$3" "$work/tree/core/include/gregale/$3" && { echo "the script '$2' changes nothing"; bad=1; }
  "$work/tree/scripts/dev/abi" check >"$work/out" 2>&1 && { echo "not found: $2"; bad=1; }
  grep -q -- "$1" "$work/out" || { echo "expected '$1', found:"; cat "$work/out"; bad=1; }
}
refuse "field gr_kv_desc.pages was 28 4" 's/^    uint32_t page_tokens;$/    uint64_t page_tokens;/' backend.h
refuse "field gr_submit.wait_count is gone" 's/^    uint32_t wait_count;$/    uint32_t waiting;/' backend.h
refuse "field gr_backend.close was" 's/(\*close)(gr_device \*device)/(*close)(gr_device *device, uint32_t why)/' backend.h
refuse "constant GR_SUPPORT_NATIVE was 2" 's/GR_SUPPORT_NATIVE = 2/GR_SUPPORT_NATIVE = 3/' backend.h
refuse "constant GR_OP_GLU was 7" 's/^GR_OP(7, GLU/GR_OP(70, GLU/' ops.def
refuse "constant GR_DTYPE_Q4_K was 12" 's/GR_DTYPE_Q4_K = 12/GR_DTYPE_Q4_K = 15/' dtype.h
refuse "field gr_step.deadline is new: raise GR_ABI_MINOR" 's/^    const gr_step_group \*groups;$/&\n    uint64_t deadline;/' step.h
refuse "field gr_step.deadline lies inside" 's/^    const int32_t \*tokens; .*$/    uint64_t deadline;\n&/; ' step.h
refuse "no description of ABI 0.99" 's/#define GR_ABI_MINOR .*/#define GR_ABI_MINOR 99/' backend.h
refuse "struct gr_page_run does not begin with struct_size" 's/^    uint32_t struct_size;$/    uint32_t bytes;/' step.h

echo "what a newer minor may do:"
sed -i 's/#define GR_ABI_MINOR .*/#define GR_ABI_MINOR 99/' "$work/tree/core/include/gregale/backend.h"
cp "$source/core/include/gregale/step.h" "$work/tree/core/include/gregale/step.h"
sed -i 's/^    const gr_step_group \*groups;$/&\n    uint64_t deadline;/' "$work/tree/core/include/gregale/step.h"
"$work/tree/scripts/dev/abi" write && "$work/tree/scripts/dev/abi" check || bad=1

echo "plugins of older minors:"
for plugin in "$source"/tests/abi/plugins/*-"$(uname -m)".so; do
  [ -e "$plugin" ] || { echo "none for $(uname -m)"; continue; }
  minor=$(basename "$plugin" "-$(uname -m).so")
  mkdir -p "$work/$minor"
  cp "$plugin" "$work/$minor/gregale-backend-old.so"
  export GREGALE_PLUGIN_PATH=$work/$minor
  "$gregale" devices --why | grep -q "accepted  ref $minor" || { echo "$minor: not accepted"; "$gregale" devices --why; bad=1; }
  old=$("$gregale" run "$source/configs/models/breeze/breeze-q8_0.gguf" --raw -p "In the beginning God" --max-tokens 12 --temperature 0 --device ref)
  unset GREGALE_PLUGIN_PATH
  new=$("$gregale" run "$source/configs/models/breeze/breeze-q8_0.gguf" --raw -p "In the beginning God" --max-tokens 12 --temperature 0 --device ref)
  [ -n "$old" ] && [ "$old" = "$new" ] || { echo "$minor writes '$old', today's ref '$new'"; bad=1; }
  "$gregale" backend test "$plugin" --batch 32 --known "$source/tests/abi/plugins/known-$minor" >"$work/out" || { echo "$minor:"; grep -v ^skip "$work/out"; bad=1; }
  tail -n 1 "$work/out"
done
exit $bad
