#!/usr/bin/env bash
# A backend author's first day: nothing but an installed Gregale, in a scratch folder. Usage: backend-new.sh BUILD_FOLDER
set -euo pipefail
build=$(cd "$1" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
root=$work/root
DESTDIR= cmake --install "$build" --prefix "$root" >"$work/install.log"
gregale=$root/bin/gregale
cd "$work"

echo "a project:"
"$gregale" backend new first_light
[ -z "$(grep -ri mydevice first_light)" ] || { echo "the template's own name is left in it"; exit 1; }
export CMAKE_PREFIX_PATH=$root CFLAGS=-Werror
first_light/ci

echo "its plugin, from the folder it was built in:"
"$gregale" devices | grep -q first_light && { echo "it was found before it was installed"; exit 1; }
GREGALE_PLUGIN_PATH=$work/first_light/build/backends "$gregale" devices | grep '^first_light '
names=$(nm -D --defined-only first_light/build/backends/*.so | awk '{print $3}')
[ "$names" = gregale_plugin_entry ] || { echo "it exports: $names"; exit 1; }
undefined=$(nm -D --undefined-only first_light/build/backends/*.so | awk '{print $2}' | grep '^gr' || true)
[ -z "$undefined" ] || { echo "it needs symbols of the host: $undefined"; exit 1; }

echo "by pkg-config, without CMake:"
lib=$(dirname "$(find "$root" -name libgregale.so)")
flags=$(PKG_CONFIG_PATH=$lib/pkgconfig pkg-config --define-variable=includedir="$root/include" --cflags gregale)
# shellcheck disable=SC2086
cc -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden $flags '-DFIRST_LIGHT_VERSION="0"' first_light/src/*.c -o plain.so -lm
"$gregale" backend test plain.so --level abi | tail -n 1

echo "structs of a backend's own:"
cat >own.c <<'C'
#define GR_SDK_ORIGIN "own"
#define GR_SDK_OWN_BUFFER
#define GR_SDK_OWN_WEIGHT
#define GR_SDK_OWN_KV
#define GR_SDK_OWN_QUEUE
#include <gregale/sdk.h>
struct gr_buffer { uint8_t *data; uint64_t bytes; };
struct gr_weight { const uint8_t *data; uint64_t bytes; gr_dtype dtype; uint32_t rank; int64_t dims[GR_MAX_RANK]; };
struct gr_kv { gr_kv_shape shape; };
struct gr_queue { int mine; };
#include <gregale/sdk/host_program.h>
gr_status own_bind(const gr_program_desc *desc, gr_call *call, gr_error *error);
gr_status own_bind(const gr_program_desc *desc, gr_call *call, gr_error *error) {
    return gr_call_bind(desc, 0, call, error);
}
C
# shellcheck disable=SC2086
cc -std=gnu11 -O2 -Wall -Wextra -Werror -fPIC -c $flags own.c -o own.o

echo "installed:"
cmake --install first_light/build --prefix "$root" >>"$work/install.log"
"$gregale" devices | grep '^first_light '

echo "what is refused:"
refuse() { # refuse CODE COMMAND...
  local code=$1 got=0
  shift
  "$@" >out 2>err || got=$?
  [ $got -eq "$code" ] && [ "$(wc -l <err)" -eq 1 ] || { echo "$*: exit code $got, expected $code"; cat err; exit 1; }
  cat err
}
refuse 3 "$gregale" backend new first_light
refuse 2 "$gregale" backend new 2nd
refuse 2 "$gregale" backend new Upper
refuse 2 "$gregale" backend new gr_mine
for name in gr gregale gregale_sdk cpu ref auto split; do
  refuse 2 "$gregale" backend new $name
  [ ! -e $name ] || { echo "$name was written"; exit 1; }
done
refuse 2 "$gregale" backend new
refuse 2 "$gregale" backend
refuse 2 "$gregale" backend nosuch
refuse 3 "$gregale" backend new fine --dir /proc/nowhere
touch file
refuse 3 "$gregale" backend new fine --dir file
grep -q "file: Not a directory" err

echo "a disk that is full leaves nothing, and the next try works:"
mkdir empty
for folder in fine empty deep; do
  refuse 3 bash -c "trap '' XFSZ; ulimit -f 2; exec \"\$0\" backend new fine --dir $folder" "$gregale"
done
[ ! -e fine ] && [ ! -e deep ] && [ -z "$(ls -A empty)" ] || { echo "left behind:"; ls -R fine empty deep; exit 1; }
"$gregale" backend new fine --dir empty
