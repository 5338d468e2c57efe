#!/bin/bash
# bootstrap.sh: build one environment of a worker. Runs as a job (kind bootstrap), detached, with its files beside it:
#   files/lock.txt uv.txt check_environment.py
#   BOOTSTRAP_NAME     <environment>-<first 12 of the lock's SHA-256>: the folder under ~/.tpu-stack/envs
#   BOOTSTRAP_WHEELS   a folder of wheels on the worker; empty: PyPI
#   BOOTSTRAP_PYTHON   3.12
#   BOOTSTRAP_MODULES  what must be importable in it, separated by blanks
# Built beside its place and renamed into it, so that it is there whole or not at all.
# Whatever goes wrong is said in one line that begins with "FAILED".
set -uo pipefail
umask 077

files=$TPU_STACK_ATTEMPT_DIR/files
envs=$HOME/.tpu-stack/envs
target=$envs/$BOOTSTRAP_NAME
read -r -a modules <<<"$BOOTSTRAP_MODULES"

say() { printf '[bootstrap] %s\n' "$*"; }

fail() {
  printf 'FAILED %s\n' "$*"
  exit 1
}

find_python() { # a candidate counts only if it runs: a pyenv shim may be on PATH and fail
  local candidate
  for candidate in "$(command -v "python$BOOTSTRAP_PYTHON")" "/opt/python$BOOTSTRAP_PYTHON/bin/python$BOOTSTRAP_PYTHON" \
    "/usr/bin/python$BOOTSTRAP_PYTHON" "/usr/local/bin/python$BOOTSTRAP_PYTHON"; do
    [[ -x $candidate ]] && "$candidate" -I -c 'import ssl, zlib, ctypes' 2>/dev/null && printf '%s' "$candidate" && return
  done
  return 1
}

# get_uv: the pinned uv as a wheel whose hash uv.txt names; a wheel is a zip archive with the program in it.
get_uv() {
  local wheel hash version program scratch=$1 any_python=$2
  read -r _ version < <(grep -o '^uv==[^ ]*' "$files/uv.txt" | sed 's/==/ /')
  uv=$HOME/.tpu-stack/tools/uv-$version/uv
  "$uv" --version >/dev/null 2>&1 && return
  if [[ $BOOTSTRAP_WHEELS ]]; then
    cp "$BOOTSTRAP_WHEELS/uv-$version"-*.whl "$scratch" || fail "no wheel of uv $version in $BOOTSTRAP_WHEELS"
  else
    "$any_python" -m pip --disable-pip-version-check download --quiet --no-deps --require-hashes \
      --only-binary :all: -r "$files/uv.txt" -d "$scratch" || fail "uv $version cannot be had from the package index"
  fi
  for wheel in "$scratch"/uv-*.whl; do
    hash=$(sha256sum <"$wheel")
    grep -q "sha256:${hash%% *}" "$files/uv.txt" || continue
    program=$scratch/uv/uv-$version.data/scripts/uv
    "$any_python" -m zipfile -e "$wheel" "$scratch/uv" || continue
    chmod 700 "$program"
    "$program" --version >/dev/null 2>&1 || continue
    mkdir -p "${uv%/*}" && mv -f "$program" "$uv" && return
  done
  fail "no wheel of uv $version that has a locked hash runs here ($(uname -m))"
}

check() { # check PYTHON: prints nothing if all is as the lock says
  local answer
  answer=$("$1" -I "$files/check_environment.py" "${modules[@]}" <"$files/lock.txt" 2>&1 | tail -n 1)
  [[ $answer == "OK "* ]] || printf '%s' "${answer:-its python does not run}"
}

mkdir -p "$envs" || fail "$envs cannot be written"
exec 9>"$envs/.lock" || fail "$envs cannot be written"
flock -n 9 || {
  say "waiting for another bootstrap"
  flock 9
}
if [[ -e $target/.deps_done && -z $(check "$target/bin/python") ]]; then
  say "it is there already"
  exit 0
fi
rm -rf "$envs"/.build.* "$envs"/.old.* # of builders that were killed; we hold their lock
work=$envs/.build.$$
trap 'rm -rf "$work"' EXIT
mkdir "$work" || fail "$envs cannot be written"
export TMPDIR=$work UV_NO_CONFIG=1 UV_NO_PROGRESS=1 UV_CACHE_DIR=$work/cache UV_LINK_MODE=hardlink

python=$(find_python) || python=
any_python=${python:-$(command -v python3)} || fail "there is no python3 to unpack uv with"
say "getting uv"
get_uv "$work" "$any_python"
if [[ -z $python ]]; then
  [[ $BOOTSTRAP_WHEELS ]] && fail "no python$BOOTSTRAP_PYTHON that runs, and none can be fetched with a wheelhouse only"
  say "getting Python $BOOTSTRAP_PYTHON"
  UV_PYTHON_INSTALL_DIR=$HOME/.tpu-stack/pythons "$uv" python install "$BOOTSTRAP_PYTHON" || fail "uv cannot install Python $BOOTSTRAP_PYTHON"
  python=$(UV_PYTHON_INSTALL_DIR=$HOME/.tpu-stack/pythons "$uv" python find "$BOOTSTRAP_PYTHON") || fail "the Python that uv installed is not found"
fi
say "python: $python ($("$python" -V 2>&1))"

"$uv" venv --quiet --relocatable --python "$python" "$work/env" || fail "uv venv did not succeed"
source=()
[[ -z $BOOTSTRAP_WHEELS ]] || source=(--offline --no-index --find-links "$BOOTSTRAP_WHEELS")
say "installing $(grep -c '^[a-z0-9].*==' "$files/lock.txt") distributions from ${BOOTSTRAP_WHEELS:-PyPI}"
# --no-deps: the lock is whole, and 0.0.2's own metadata would bring jax[tpu] along.
"$uv" pip install --no-deps --require-hashes --python "$work/env/bin/python" "${source[@]}" -r "$files/lock.txt" ||
  fail "uv pip install did not succeed"
say "checking"
damage=$(check "$work/env/bin/python")
[[ -z $damage ]] || fail "what was installed is not what the lock says: $damage"

printf '{"name": "%s", "python": "%s", "lock_sha256": "%s", "finished": %s}\n' "$BOOTSTRAP_NAME" "$python" \
  "$(sha256sum <"$files/lock.txt" | cut -d ' ' -f 1)" "$EPOCHSECONDS" >"$work/env/.deps_done"
if [[ -e $target ]]; then
  mv -T "$target" "$envs/.old.$$" || fail "the old $target cannot be moved away"
fi
mv -T "$work/env" "$target" || fail "$target cannot be written"
rm -rf "$envs/.old.$$"
say "done in $SECONDS s"
