#!/usr/bin/env bash
# One short run under valgrind: no error, no leak. Usage: valgrind.sh PATH_TO_GREGALE
set -euo pipefail
# valgrind 3.19 knows no AVX-512, so the reference backend runs.
model=$(dirname "$0")/../../configs/models/breeze/breeze-q8_0.gguf
exec valgrind --quiet --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite \
  "$1" run "$model" --device ref --raw -p "In the beginning" --max-tokens 2 --temperature 0 --threads 1
