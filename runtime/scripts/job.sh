#!/bin/bash
# job.sh: attempts of jobs on one worker. Idempotent; every call is short and needs no second one.
#   launch JOB ATTEMPT SHA256   SHA256 of spec.json; standard input: the SHA-256 of what follows on a line, then a
#                               tar of the attempt's folder. Answers on the last line:
#                               LAUNCHED | ALREADY_RUNNING | ALREADY_COMPLETE | REFUSED why
#   status JOB [ATTEMPT]        one line of JSON; without ATTEMPT the current one
#   list                        such a line for the current attempt of every job
#   stop JOB ATTEMPT SIGNAL     one signal to all its processes: STOPPED | STOPPING n | ABSENT
#   tail JOB ATTEMPT LINES      the end of its log
#   read JOB ATTEMPT OFFSET LENGTH   first line: the next offset and the log's length; then the bytes
set -u
# shellcheck source=runtime/scripts/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

jobs=$stack_home/jobs

refuse() {
  printf 'REFUSED %s\n' "$*"
  exit 0
}

open_home() {
  mkdir -p "$jobs" 2>/dev/null || refuse "$stack_home cannot be written"
  local found=
  { read -r found <"$stack_home/format"; } 2>/dev/null
  if [[ -z $found ]]; then
    printf '%s\n' "$format" 2>/dev/null >"$stack_home/format" || refuse "$stack_home cannot be written"
  elif [[ ! $found =~ ^[0-9]+$ ]] || ((found > format)); then
    refuse "$stack_home is of format $found, this version knows $format: use the newer tpu-stack"
  fi
}

take_lock() { # one change at a time; the lock goes with the process, however that ends
  exec 9>"$stack_home/lock" || refuse "$stack_home cannot be written"
  flock -w 15 9 || refuse "another call has held $stack_home/lock for 15 s"
}

# attempt_state DIR: sets state, exit_code (or null), why
attempt_state() {
  local dir=$1
  exit_code=null why=''
  if [[ ! -d $dir ]]; then
    state=absent
  elif [[ -e $dir/exit_code ]]; then
    read -r exit_code <"$dir/exit_code"
    if [[ ! $exit_code =~ ^[0-9]+$ ]]; then
      state=lost exit_code=null why="its exit_code file is damaged"
    elif [[ -e $dir/stop ]]; then
      state=stopped
    elif ((exit_code == 0)); then
      state=complete
    else
      state=failed why="exit code $exit_code"
    fi
  elif [[ ! -d $dir/started ]]; then
    state=absent why="written, never started"
  elif ! read_attempt "$dir"; then
    local born
    born=$(stat -c %Y "$dir/started")
    if [[ -e $dir/pid ]]; then
      state=lost why="its pid file is damaged"
    elif ((EPOCHSECONDS - born > 15 || born - EPOCHSECONDS > 15)); then
      state=lost why="its supervisor was killed at the start"
    else
      state=starting
    fi
  elif [[ $a_boot != "$this_boot" ]]; then
    state=lost why="the worker was rebooted"
  elif same_process "$a_job" "$a_job_start" || same_process "$a_pid" "$a_start"; then
    state=running
  elif [[ -e $dir/exit_code ]]; then
    attempt_state "$dir" # it ended between the two looks
  else
    state=lost why="its supervisor was killed"
  fi
}

print_status() { # print_status JOB DIR
  local job=$1 dir=$2 log_bytes=0 kept=0 dropped=0 log_time='' started=null seconds=null age=null supervised=false ended
  attempt_state "$dir"
  local pid=null count=0
  if [[ -d $dir ]]; then
    if read_attempt "$dir"; then
      pid=$a_job
      recorded_alive "$a_pid" "$a_start" && supervised=true
    fi
    find_members "$dir"
    count=${#members[@]}
    read -r log_bytes log_time < <(stat -c '%s %Y' "$dir/log" 2>/dev/null)
    { read -r kept dropped <"$dir/log.cut"; } 2>/dev/null
    [[ -n $log_time ]] && age=$((EPOCHSECONDS - log_time))
    { read -r started <"$dir/started/uptime"; } 2>/dev/null
    { read -r ended <"$dir/started/ended"; } 2>/dev/null || ended=$(uptime_seconds)
    [[ $started =~ ^[0-9]+$ && $state != lost ]] && seconds=$((ended - started))
  fi
  printf '{"job": "%s", "attempt": "%s", "state": "%s", "exit_code": %s, "pid": %s, "members": %s, "supervised": %s, ' \
    "$job" "${dir##*/}" "$state" "$exit_code" "$pid" "$count" "$supervised"
  printf '"log_bytes": %s, "log_age": %s, "seconds": %s, "why": "%s"}\n' \
    "$((${log_bytes:-0} + ${dropped:-0}))" "$age" "$seconds" "$why"
}

resolve() { # resolve JOB [ATTEMPT]: sets dir
  local attempt=${2:-}
  if [[ -z $attempt || $attempt == current ]]; then
    attempt=$(readlink "$jobs/$1/current" 2>/dev/null)
    attempt=${attempt##*/}
  fi
  dir=$jobs/$1/attempts/${attempt:-none}
}

answer_existing() { # the same attempt id again: DIR exists
  local dir=$1 sha=$2 known
  known=$(sha256sum <"$dir/spec.json") || refuse "attempt ${dir##*/} has no readable spec.json"
  [[ ${known%% *} == "$sha" ]] || refuse "attempt ${dir##*/} exists with another spec"
  attempt_state "$dir"
  case $state in
    running | starting) printf 'ALREADY_RUNNING pid=%s\n' "${a_job:-}" && exit 0 ;;
    complete | failed | stopped) printf 'ALREADY_COMPLETE state=%s exit_code=%s\n' "$state" "$exit_code" && exit 0 ;;
    lost) refuse "attempt ${dir##*/} was lost ($why): start a new one" ;;
  esac
}

others_running() { # refuse while another attempt that holds chips is alive
  local current dir
  for current in "$jobs"/*/current; do
    [[ -L $current ]] || continue
    dir=$jobs/$(basename "$(dirname "$current")")/attempts/$(basename "$(readlink "$current")")
    [[ $dir != "$1" && -e $dir/holds_chips ]] || continue
    attempt_state "$dir"
    find_members "$dir"
    if [[ $state == running || $state == starting ]] || ((${#members[@]})); then
      refuse "$(basename "$(dirname "$current")") attempt ${dir##*/} runs here: stop it first"
    fi
  done
}

prune() { # keep the ten newest attempts (ULIDs sort by time), and what a killed caller left for ten minutes
  local dir
  find "$1" -maxdepth 1 -name 'incoming.*' -mmin +10 -exec rm -rf {} +
  for dir in $(printf '%s\n' "$1"/attempts/* | sort -r | tail -n +11); do
    attempt_state "$dir"
    find_members "$dir"
    [[ $state == running || $state == starting ]] || ((${#members[@]})) || rm -rf "$dir"
  done
}

await_start() { # the supervisor has recorded itself, or is known to have failed
  local dir=$1
  for _ in {1..100}; do
    read_attempt "$dir" && return 0
    sleep 0.05
  done
  return 1
}

launch() {
  local job=$1 attempt=$2 sha=$3 base=$jobs/$1
  local dir=$base/attempts/$attempt whole
  staged=$base/incoming.$attempt.$$
  open_home
  # Standard input is read before the lock is taken: a caller that dies half-way must not hold it.
  trap 'rm -rf "$staged"' EXIT
  mkdir -p "$staged" "$base/attempts" 2>/dev/null || refuse "$base cannot be written"
  read -r whole
  cat >"$staged/archive" || refuse "$base cannot be written"
  # tar alone takes an archive that ends early for a short one.
  [[ $(sha256sum <"$staged/archive") == "$whole  -" ]] || refuse "the spec did not arrive whole"
  tar -xf "$staged/archive" -C "$staged" || refuse "the spec cannot be unpacked"
  rm -f "$staged/archive"
  [[ $(sha256sum <"$staged/spec.json") == "$sha  -" ]] || refuse "the spec did not arrive as it was sent"
  take_lock
  [[ ! -d $dir ]] || answer_existing "$dir" "$sha"
  [[ ! -e $staged/holds_chips ]] || others_running "$dir"
  if [[ ! -d $dir ]]; then
    : >"$staged/log"
    mv -T "$staged" "$dir" || refuse "$dir cannot be written"
  fi
  ln -sfn "attempts/$attempt" "$base/current.$$" || refuse "$base cannot be written"
  mv -Tf "$base/current.$$" "$base/current" || refuse "$base/current cannot be written"
  prune "$base"
  # Where systemd ends a user's things with the last login (RemoveIPC, KillUserProcesses), lingering keeps them.
  [[ -d /run/systemd/system ]] && timeout 5 sudo -n loginctl enable-linger "$(id -un)" >/dev/null 2>&1
  setsid bash "${BASH_SOURCE[0]%/*}/supervise.sh" "$dir" </dev/null >/dev/null 2>>"$dir/supervisor.log" 9>&- &
  await_start "$dir" || refuse "the supervisor did not start: $(tail -n 1 "$dir/supervisor.log")"
  printf 'LAUNCHED pid=%s\n' "$a_job"
}

stop() {
  local signal=$3
  open_home
  take_lock
  resolve "$1" "$2"
  [[ -d $dir ]] || { printf 'ABSENT\n' && exit 0; }
  attempt_state "$dir"
  find_members "$dir"
  if [[ $state == running || $state == starting ]]; then
    : >"$dir/stop"
  fi
  if ((${#members[@]})); then
    # The group first, in one call, so that none of it sees its siblings die before it is told itself.
    local told=0 pid
    if read_attempt "$dir" && recorded_alive "$a_job" "$a_job_start"; then
      kill -s "$signal" -- "-$a_job" 2>/dev/null && told=$a_job
    fi
    for pid in "${members[@]}"; do
      read_stat "$pid" && [[ $p_pgrp != "$told" ]] && kill -s "$signal" "$pid" 2>/dev/null
    done
    printf 'STOPPING %s\n' "${#members[@]}"
  elif [[ $state == starting ]]; then
    printf 'STOPPING 0\n' # the supervisor looks for the stop file before it begins
  elif read_attempt "$dir" && recorded_alive "$a_pid" "$a_start"; then
    printf 'STOPPING 0\n' # the supervisor is writing down how it ended
  else
    printf 'STOPPED\n'
  fi
}

read_log() { # offsets count what was written in all: what the supervisor cut out stays counted
  local offset=$2 length=$3 kept=0 dropped=0 size position
  resolve "$1" "$4"
  exec 8>>"$dir/log.lock" && flock -w 5 8
  { read -r kept dropped <"$dir/log.cut"; } 2>/dev/null
  size=$(stat -c %s "$dir/log") || exit 3
  position=$offset
  if ((dropped > 0 && offset >= kept)); then
    position=$((offset - dropped > kept ? offset - dropped : kept))
    offset=$((position + dropped))
  elif ((dropped > 0 && offset + length > kept)); then
    length=$((kept - offset)) # up to the cut; the next call goes on behind it
  fi
  ((position + length > size)) && length=$((size > position ? size - position : 0))
  printf '%s %s\n' "$((offset + length))" "$((size + dropped))"
  tail -c "+$((position + 1))" "$dir/log" | head -c "$length"
}

case ${1:-} in
  launch) launch "$2" "$3" "$4" ;;
  status) resolve "$2" "${3:-}" && print_status "$2" "$dir" ;;
  list)
    for current in "$jobs"/*/current; do
      [[ -L $current ]] || continue
      job=$(basename "$(dirname "$current")")
      resolve "$job" current && print_status "$job" "$dir"
    done
    ;;
  stop) stop "$2" "$3" "$4" ;;
  tail) resolve "$2" "$3" && exec tail -n "$4" -- "$dir/log" ;;
  read) read_log "$2" "$4" "$5" "$3" ;;
  *) printf 'usage: job.sh launch|status|list|stop|tail|read ...\n' >&2 && exit 2 ;;
esac
