#!/bin/bash
# environment.sh NAME-HASH MODULE... <lock.txt: is the environment there and whole? Changes nothing.
# Answers OK PYTHON | MISSING PYTHON | BROKEN why; PYTHON is where its interpreter is, or will be.
set -u
# shellcheck source=runtime/scripts/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

dir=$stack_home/envs/$1
shift
if [[ ! -e $dir ]]; then
  printf 'MISSING %s\n' "$dir/bin/python"
elif [[ ! -e $dir/.deps_done ]]; then
  printf 'BROKEN it was never finished (no .deps_done)\n'
else
  answer=$("$dir/bin/python" -I "${BASH_SOURCE[0]%/*}/check_environment.py" "$@" 2>&1 | tail -n 1)
  case $answer in
    OK\ *) printf 'OK %s\n' "$dir/bin/python" ;;
    BROKEN\ *) printf '%s\n' "$answer" ;;
    *) printf 'BROKEN its python does not run: %s\n' "$answer" ;;
  esac
fi
