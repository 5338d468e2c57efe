#!/bin/bash
# gates.sh [port=N]... [chips]: what stands in the way of a launch, one fact a line, fields separated by TAB.
#   port N free | port N PID USER ARGV64 | port N ? ? -     (ARGV64: the command line in base64, "-" if hidden)
#   chip PATH PID USER ARGV64                               (only devices that somebody holds)
#   disk FREE_BYTES TOTAL_BYTES                             (of the file system of the home)
#   memory AVAILABLE_BYTES
#   clock EPOCH_SECONDS
# Ends nothing and changes nothing. With sudo without a password, other users' processes are seen, too.
set -u
export LC_ALL=C

tell() { # tell KIND WHAT PID
  local pid=$3 user argv
  user=$(ps -o user:32= -p "$pid" 2>/dev/null | tr -d ' ')
  argv=$(base64 -w 0 <"/proc/$pid/cmdline" 2>/dev/null)
  [[ $argv ]] || argv=$(tr -d '\n' <"/proc/$pid/comm" 2>/dev/null | base64 -w 0)
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "$pid" "${user:-?}" "${argv:--}"
}

# holders TARGET...: "PID TARGET" of processes that have one of the given files or sockets open
holders() {
  find /proc/[0-9]*/fd -maxdepth 1 -type l -printf '%h %l\n' 2>/dev/null | awk '
    BEGIN { for (i = 1; i < ARGC; i++) wanted[ARGV[i]] = 1; ARGC = 1 }
    { target = $0; sub(/^[^ ]* /, "", target)
      if (target in wanted) { split($1, part, "/"); if (!seen[part[3] target]++) print part[3], target } }' "$@"
}

port() {
  local number=$1 inodes found=
  inodes=$(awk -v port="$(printf ':%04X' "$number")" '
    $4 == "0A" && substr($2, length($2) - 4) == port { print "socket:[" $10 "]" }' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
  if [[ -z $inodes ]]; then
    printf 'port\t%s\tfree\n' "$number"
    return
  fi
  while read -r pid _; do
    tell port "$number" "$pid"
    found=1
  done < <(mapfile -t wanted <<<"$inodes" && holders "${wanted[@]}")
  [[ $found ]] || printf 'port\t%s\t?\t?\t-\n' "$number"
}

chips() {
  local path devices=()
  for path in /dev/accel* /dev/vfio/* /tmp/libtpu_lockfile; do
    [[ -e $path && ! -d $path ]] && devices+=("$path")
  done
  ((${#devices[@]})) || return
  while read -r pid path; do
    tell chip "$path" "$pid"
  done < <(holders "${devices[@]}")
}

if ((EUID != 0)) && [[ ${GATES_WITH_SUDO-} != no ]] && sudo -n true 2>/dev/null; then
  exec sudo -n env GATES_WITH_SUDO=no GATES_HOME="$HOME" bash "${BASH_SOURCE[0]}" "$@"
fi

for gate in "$@"; do
  case $gate in
    port=*) port "${gate#port=}" ;;
    chips) chips ;;
    *) printf 'unknown gate: %s\n' "$gate" >&2 && exit 2 ;;
  esac
done
df -B1 --output=avail,size "${GATES_HOME:-$HOME}" | awk 'NR == 2 { print "disk\t" $1 "\t" $2 }'
awk '$1 == "MemAvailable:" { print "memory\t" $2 * 1024 }' /proc/meminfo
printf 'clock\t%s\n' "$(date +%s)"
