# shellcheck shell=bash disable=SC2034 # what is set here is read by the scripts that source it
# What the scripts on a worker share. Sourced, never run. Bash 5.0 (Ubuntu 20.04) and coreutils are enough.

umask 077
stack_home=$HOME/.tpu-stack
format=1

this_boot=unknown
{ read -r this_boot </proc/sys/kernel/random/boot_id; } 2>/dev/null

uptime_seconds() {
  local up
  read -r up _ </proc/uptime
  printf '%s' "${up%%.*}"
}

# read_stat PID: p_state p_pgrp p_session p_start of a live process; 1 if there is none.
# A command name may hold blanks, parentheses and line ends: fields count from the last ")".
read_stat() {
  local - line='' IFS=' '
  set -f
  { IFS= read -r -d '' line <"/proc/$1/stat"; } 2>/dev/null
  [[ -n $line ]] || return 1
  # shellcheck disable=SC2206 # a letter and numbers; a here-string would need a temporary file, and disks fill
  local fields=(${line##*) })
  p_state=${fields[0]} p_pgrp=${fields[2]} p_session=${fields[3]} p_start=${fields[19]}
  [[ $p_state != Z && $p_state != X ]]
}

# same_process PID START: whether this very process is alive. A pid that was given to another
# process since has another start time (clock ticks since boot).
same_process() {
  [[ -n $1 ]] && read_stat "$1" && [[ $p_start == "$2" ]]
}

# write_file PATH: standard input, whole or not at all.
write_file() {
  local part=$1.$BASHPID # here: in the redirection of cat it would be cat's own
  cat >"$part" && mv -f "$part" "$1"
}

# read_attempt DIR: a_pid a_start (supervisor, leader of the session) a_job a_job_start (leader of the
# job's process group) a_boot; 1 if they were not recorded, or are damaged.
read_attempt() {
  a_pid='' a_start='' a_job='' a_job_start='' a_boot=''
  { read -r a_pid a_start a_job a_job_start a_boot <"$1/pid"; } 2>/dev/null
  [[ $a_pid =~ ^[0-9]+$ && $a_start =~ ^[0-9]+$ && $a_job =~ ^[0-9]+$ && $a_job_start =~ ^[0-9]+$ && -n $a_boot ]]
}

# recorded_alive PID START, after read_attempt: a process of the record, alive. Pids and start times repeat after a
# reboot, so only a record of this boot counts.
recorded_alive() {
  [[ $a_boot == "$this_boot" ]] && same_process "$1" "$2"
}

# find_members DIR: the attempt's live processes into the array members, without the supervisor's process group.
# - Those that carry the attempt in their environment, as all its descendants do until they rewrite their own
#   memory (setproctitle). Only our own user's processes can be read.
# - Those of its session. A session's number is not given away while one process is in it. So if one member is
#   surely ours (the recorded supervisor or job, or one that carries the mark), all are; if none is, the number
#   may by now be a stranger's and nothing of that session counts.
# Forks once: it runs at every look at a worker, beside servers that need the processor.
find_members() {
  local pid ours=''
  local -A seen=()
  while IFS=/ read -r _ _ pid _; do
    read_stat "$pid" && seen[$pid]=$p_session
  done < <(grep -lszxF "TPU_STACK_ATTEMPT_DIR=$1" /proc/[0-9]*/environ 2>/dev/null)
  if read_attempt "$1"; then
    if recorded_alive "$a_pid" "$a_start" || recorded_alive "$a_job" "$a_job_start"; then
      ours=1
    else
      for pid in "${!seen[@]}"; do
        [[ ${seen[$pid]} == "$a_pid" ]] && ours=1
      done
    fi
    if [[ -n $ours ]]; then
      for pid in /proc/[0-9]*; do
        pid=${pid#/proc/}
        read_stat "$pid" && [[ $p_session == "$a_pid" && $p_pgrp != "$a_pid" ]] && seen[$pid]=$p_session
      done
    fi
  fi
  members=("${!seen[@]}")
}
