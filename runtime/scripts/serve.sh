#!/bin/bash
# serve.sh: one worker's part of a server. Its command line stands in files/argv, each argument ended by NUL,
# so that nothing in it is ever read by a shell. The job's supervisor sets TPU_STACK_ATTEMPT_DIR.
set -euo pipefail
mapfile -d '' -t argv <"$TPU_STACK_ATTEMPT_DIR/files/argv"
[[ -z ${JAX_COMPILATION_CACHE_DIR:-} ]] || mkdir -p "$JAX_COMPILATION_CACHE_DIR"
exec "${argv[@]}"
