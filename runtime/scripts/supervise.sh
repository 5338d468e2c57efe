#!/bin/bash
# supervise.sh DIR: run one attempt to its end, in a session of its own, and record how it ended.
# Started by job.sh only. Standard streams go nowhere; the job's output goes to DIR/log.
set -u
dir=$1
attempt=${dir##*/}
# shellcheck source=runtime/scripts/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

mkdir "$dir/started" 2>/dev/null || exit 0 # another supervisor was quicker: there is one start an attempt
cd "$HOME" || exit 1

read -r cap <"$dir/log_cap" || cap=67108864
[[ $cap =~ ^[0-9]+$ ]] || cap=67108864

# cut_log: beyond the cap, keep the first and the last fourth. The job appends (O_APPEND), so the file can be
# cut under it; what it writes in the milliseconds of the cut can be lost. log.cut: bytes kept at the front and
# bytes dropped so far, which make the offsets of readers stay true.
cut_log() {
  local size start part=$((cap / 4)) dropped=0
  size=$(stat -c %s "$dir/log") || return
  ((size > cap)) || return
  start=$((size - part))
  { read -r _ dropped <"$dir/log.cut"; } 2>/dev/null
  {
    flock 8
    printf '\n[tpu-stack] here %s bytes were cut out\n' "$((start - part))" >"$dir/log.tail"
    dropped=$((dropped + start - part - $(stat -c %s "$dir/log.tail")))
    tail -c "+$((start + 1))" "$dir/log" >>"$dir/log.tail"
    truncate -s "$part" "$dir/log"
    cat "$dir/log.tail" >>"$dir/log"
    printf '%s %s\n' "$part" "$dropped" | write_file "$dir/log.cut"
    rm -f "$dir/log.tail"
  } 8>"$dir/log.lock"
}

# reserve NAME, settle NAME TEXT: a file that has its place on the disk before the job starts, and appears whole when
# it is written. Jobs fill disks, and it is then that their end must be known.
reserve() {
  printf '%-120s\n' - >"$dir/$1.reserved"
}

settle() {
  printf '%-120s\n' "$2" 1<>"$dir/$1.reserved" && mv -f "$dir/$1.reserved" "$dir/$1"
}

record() { # record STATE EXIT_CODE: status.json, for people; the scripts read pid and exit_code
  printf '{"attempt": "%s", "state": "%s", "exit_code": %s, "pid": %s, "job_pid": %s, "boot": "%s", "uptime": %s}\n' \
    "$attempt" "$1" "$2" "$$" "$job" "$this_boot" "$(uptime_seconds)" | write_file "$dir/status.json"
}

load() { # load FILE: entries NAME=VALUE, each ended by NUL, into the environment
  local entry
  while IFS= read -r -d '' entry; do
    export "${entry?}"
  done <"$1"
}

reserve pid && reserve exit_code || exit 1
uptime_seconds >"$dir/started/uptime"
if [[ -e $dir/stop ]]; then # asked to before it began
  settle exit_code 143
  exit 0
fi

set -m # a process group of its own for the job
(
  load "$dir/env"
  if [[ -e $dir/secrets ]]; then
    load "$dir/secrets"
    rm -f "$dir/secrets"
  fi
  # The mark by which every descendant is known as ours; not on our own tools.
  export TPU_STACK_ATTEMPT=$attempt TPU_STACK_ATTEMPT_DIR=$dir
  exec bash "$dir/run.sh"
) </dev/null >>"$dir/log" 2>&1 &
job=$!
set +m
read_stat "$$" && start=$p_start
read_stat "$job" || p_start=0 # gone already: a start time that no process has
job_start=$p_start
settle pid "$$ $start $job $job_start $this_boot"
record running null

(
  exec 7<> <(:) # a pipe that nothing comes through: a pause without a process of its own, which would outlive us
  while same_process "$job" "$job_start"; do
    cut_log
    read -r -t 2 -u 7
  done
) </dev/null >/dev/null 2>&1 &
cutter=$!

wait "$job"
code=$?
settle exit_code "$code"
uptime_seconds >"$dir/started/ended"
kill "$cutter" 2>/dev/null
wait "$cutter" 2>/dev/null

# An attempt ends as a whole: what its main process left running would hold the chips and the ports.
find_members "$dir"
left=${#members[@]}
((left == 0)) || printf '[tpu-stack] %s processes were left running: ending them\n' "$left" >>"$dir/log"
for signal in TERM KILL; do
  for _ in {1..50}; do
    find_members "$dir"
    ((${#members[@]})) || break 2
    kill -s "$signal" "${members[@]}" 2>/dev/null
    sleep 0.1
  done
done

cut_log
if [[ -e $dir/stop ]]; then
  record stopped "$code"
elif ((code == 0)); then
  : >"$dir/done"
  record complete 0
else
  record failed "$code"
fi
