#!/bin/bash
# observe_sglang.sh ATTEMPT_DIR PORT [DIST_PORT]: one look at one worker's part of a sglang-jax server.
# Prints one line of JSON and changes nothing; takes well under 5 seconds, also when the server hangs.
# DIST_PORT is given on worker 0 of several: only there the rendezvous ports are bound.
set -u
# shellcheck source=runtime/scripts/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"
export LC_ALL=C

dir=$1 port=$2 dist_port=${3:-}
log=$dir/log

quote() { # quote TEXT [LENGTH]: a JSON string of its printable ASCII
  local text=${1//[^[:print:]]/ }
  text=${text:0:${2:-400}}
  text=${text//\\/\\\\}
  printf '"%s"' "${text//\"/\\\"}"
}

first_line() { # first_line PATTERN: the first line of the log that holds it, as JSON; null if there is none
  local line
  if line=$(grep -a -m 1 -F -- "$1" "$log" 2>/dev/null); then quote "$line"; else printf null; fi
}

command_line() {
  tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline"
}

# Whoever runs this may see all sockets only as root; without sudo a stranger stays unnamed, not unseen.
privileged=()
((EUID == 0)) || ! timeout 2 sudo -n true 2>/dev/null || privileged=(sudo -n)

holders() { # holders LINK...: pids that hold an open file whose link matches one of the patterns
  local tests=() link
  for link in "$@"; do tests+=(-o -lname "$link"); done
  timeout 3 "${privileged[@]}" find /proc/[0-9]*/fd -maxdepth 1 \( "${tests[@]:1}" \) 2>/dev/null | cut -d / -f 3 | sort -un
}

person() { # person PID: who it is, for people
  printf '"pid": %s, "user": ' "$1"
  quote "$(stat -c %U "/proc/$1" 2>/dev/null)"
  printf ', "argv": '
  quote "$(command_line "$1")" 200
}

is_ours() { # is_ours PID: one of the attempt, also if it was started since we counted
  [[ $'\n'$own$'\n' == *$'\n'$1$'\n'* ]] && return
  own=$(members "$dir")
  [[ $'\n'$own$'\n' == *$'\n'$1$'\n'* ]]
}

listening() { # listening PORT: inodes of the sockets that listen on it
  awk -v port="$(printf '%04X' "$1")" '$4 == "0A" { split($2, address, ":"); if (address[2] == port) print $10 }' \
    /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

owner_of() { # owner_of INODE: the process that holds the socket; ours are asked first, and need no sudo
  local pid
  for pid in $own; do
    [[ -n $(find "/proc/$pid/fd" -lname "socket:\[$1\]" -print -quit 2>/dev/null) ]] && printf '%s' "$pid" && return
  done
  holders "socket:\[$1\]" | head -n 1
}

print_listeners() {
  local number inode pid separator=''
  for number in "$@"; do
    for inode in $(listening "$number"); do
      pid=$(owner_of "$inode")
      # A socket that was closed while we looked belongs to nobody.
      [[ -n $pid || $'\n'$(listening "$number")$'\n' == *$'\n'$inode$'\n'* ]] || continue
      printf '%s{"port": %s, ' "$separator" "$number"
      if [[ -n $pid ]] && is_ours "$pid"; then
        printf '"ours": true, "pid": %s}' "$pid"
      else
        printf '"ours": false'
        [[ -z $pid ]] || { printf ', ' && person "$pid"; }
        printf '}'
      fi
      separator=', '
    done
  done
}

print_processes() {
  local pid line role separator=''
  for pid in $own; do
    line=$(command_line "$pid")
    case $line in
      *sglang::scheduler*) role=scheduler ;;
      *sglang-jax::detokenizer*) role=detokenizer ;;
      *-m\ sgl_jax.launch_server*) role=launcher ;;
      *) role=other ;;
    esac
    printf '%s{"pid": %s, "role": "%s"}' "$separator" "$pid" "$role"
    separator=', '
  done
}

print_chip_holders() {
  local devices pid separator=''
  devices=$(compgen -G '/dev/accel[0-9]*'; compgen -G '/dev/vfio/[0-9]*')
  [[ -n $devices ]] || return 0
  for pid in $(holders '/dev/accel[0-9]*' '/dev/vfio/[0-9]*'); do
    is_ours "$pid" && continue
    printf '%s{' "$separator"
    person "$pid"
    printf '}'
    separator=', '
  done
}

print_errors() { # what Python and argparse print as the reason of an end
  local line separator=''
  while IFS= read -r line; do
    printf '%s' "$separator"
    quote "$line"
    separator=', '
  done < <(grep -a -E -m 8 -- '^([A-Za-z_]+\.)*[A-Za-z_]*(Error|Exception)(: .*)?$|: error: |\[Errno [0-9]+\]' "$log" 2>/dev/null)
}

cpu_ticks() { # of all the attempt's processes so far: a server that compiles is busy, one that waits is not
  local pid fields sum=0
  for pid in $own; do
    fields=
    { IFS= read -r -d '' fields <"/proc/$pid/stat"; } 2>/dev/null
    read -r -a fields <<<"${fields##*) }"
    sum=$((sum + ${fields[11]:-0} + ${fields[12]:-0}))
  done
  printf '%s' "$sum"
}

number_in() { # number_in FILE: the number that it holds, or null
  local number=
  { read -r number <"$1"; } 2>/dev/null
  if [[ $number =~ ^[0-9]+$ ]]; then printf '%s' "$number"; else printf null; fi
}

# Before the processes are counted: the one that wrote it must be among them, or has died.
devices=null
[[ ! -s $dir/devices.json ]] || devices=$(quote "$(<"$dir/devices.json")" 1000)
own=$(members "$dir")
supervised=false
read_attempt "$dir" && [[ $a_boot == "$(boot_id)" ]] && same_process "$a_pid" "$a_start" && supervised=true
started=false
[[ ! -d $dir/started ]] || started=true

python=''
{ IFS= read -r -d '' python <"$dir/files/argv"; } 2>/dev/null
runnable=false
[[ -n $python && -x $python ]] && runnable=true

ports=("$port")
[[ -z $dist_port ]] || ports+=("$dist_port" "$((dist_port + 5))" "$((dist_port + 6))")

health=000
if [[ -n $(listening "$port") ]]; then
  health=$(curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$port/health" 2>/dev/null)
fi

read -r log_bytes log_time < <(stat -c '%s %Y' "$log" 2>/dev/null || printf '0 0\n')
# What the server says of our own looks at it is no progress.
growth=$(grep -a -v 'GET /health' "$log" 2>/dev/null | wc -c)
disk=$(df -Pk "$HOME" | awk 'NR == 2 { print int($4 / 1024) }')

printf '{"time": %s, "started": %s, "supervised": %s, "exit_code": %s, ' \
  "$EPOCHSECONDS" "$started" "$supervised" "$(number_in "$dir/exit_code")"
printf '"python": %s, "python_runs": %s, "disk_free_mib": %s, ' "$(quote "$python")" "$runnable" "${disk:-null}"
printf '"processes": [%s], "cpu_ticks": %s, ' "$(print_processes)" "$(cpu_ticks)"
printf '"listeners": [%s], "chip_holders": [%s], ' "$(print_listeners "${ports[@]}")" "$(print_chip_holders)"
printf '"health": %s, "devices": %s, ' "$((10#${health:-0}))" "$devices"
printf '"log_bytes": %s, "log_growth": %s, "log_age": %s, "log_last": %s, ' \
  "$log_bytes" "$growth" "$((log_time ? EPOCHSECONDS - log_time : 0))" "$(quote "$(tail -c 2000 "$log" 2>/dev/null | grep -a . | tail -n 1)")"
printf '"marks": {'
printf '"begins": %s, ' "$(first_line '] Begins to synchronize')"
printf '"publisher": %s, ' "$(first_line 'Succeeds to synchronize!')"
printf '"subscriber": %s, ' "$(first_line 'Succeeds to synchronizes!')"
printf '"weights": %s, ' "$(first_line 'weights loaded successfully!')"
printf '"precompiled": %s, ' "$(first_line 'Completes worker precompile')"
printf '"fired_up": %s, ' "$(first_line 'The server is fired up and ready to roll!')"
printf '"scheduler_exception": %s, ' "$(first_line 'Scheduler hit an exception')"
printf '"port_in_use": %s, ' "$(first_line '[Errno 98]')"
printf '"child_failed": %s, ' "$(first_line 'Child process unexpectedly failed with exitcode')"
printf '"peer_died": %s, ' "$(first_line 'another task died')"
printf '"shim_failed": %s}, ' "$(first_line '[tpu-stack shim] could not')"
# Last, so that an exit or an exception that was seen above has its reason here.
printf '"errors": [%s]}\n' "$(print_errors)"
