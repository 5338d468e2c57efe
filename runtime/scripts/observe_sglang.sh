#!/bin/bash
# observe_sglang.sh ATTEMPT_DIR PORT [DIST_PORT]: one look at one worker's part of a sglang-jax server.
# Prints one line of JSON and changes nothing; takes well under 5 seconds, also when the server hangs.
# DIST_PORT is given on worker 0 of several: only there the rendezvous ports are bound.
# It is called again and again beside a server that compiles, so it starts few processes.
set -u
# shellcheck source=runtime/scripts/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"
export LC_ALL=C

dir=$1 port=$2 dist_port=${3:-}
log=$dir/log

quote() { # quote TEXT [LENGTH]: REPLY is a JSON string of its printable ASCII
  REPLY=${1//[^[:print:]]/ }
  REPLY=${REPLY:0:${2:-400}}
  REPLY=${REPLY//\\/\\\\}
  REPLY="\"${REPLY//\"/\\\"}\""
}

command_line() { # command_line PID: REPLY
  local words=()
  { mapfile -d '' -t words <"/proc/$1/cmdline"; } 2>/dev/null
  REPLY="${words[*]}"
}

number_in() { # number_in FILE: REPLY is the number that it holds, or null
  REPLY=
  { read -r REPLY <"$1"; } 2>/dev/null
  [[ $REPLY =~ ^[0-9]+$ ]] || REPLY=null
}

count_ours() { # own: the attempt's processes, one a line
  find_members "$dir" # before IFS is changed: bash's local reaches into what is called
  local IFS=$'\n'
  own="${members[*]}"
}

is_ours() { # is_ours PID: one of the attempt, also if it was started since we counted
  [[ $'\n'$own$'\n' == *$'\n'$1$'\n'* ]] && return
  count_ours
  [[ $'\n'$own$'\n' == *$'\n'$1$'\n'* ]]
}

# Only root may see what all processes have open; without sudo a stranger stays unnamed, not unseen.
holder_of() { # holder_of LINK...: REPLY is the first process outside the attempt that has such a file open
  local tests=() privileged=() link pid
  for link in "$@"; do tests+=(-o -lname "$link"); done
  ((EUID == 0)) || ! timeout 2 sudo -n true 2>/dev/null || privileged=(sudo -n)
  for pid in $(timeout 3 "${privileged[@]}" find /proc/[0-9]*/fd -maxdepth 1 \( "${tests[@]:1}" \) 2>/dev/null | cut -d / -f 3 | sort -un); do
    REPLY=$pid
    is_ours "$pid" || return 0
  done
  REPLY=
}

person() { # person PID: REPLY is who it is, for people
  local user argv
  quote "$(stat -c %U "/proc/$1" 2>/dev/null)" && user=$REPLY
  command_line "$1" && quote "$REPLY" 200 && argv=$REPLY
  REPLY="\"pid\": $1, \"user\": $user, \"argv\": $argv"
}

listening() { # listening PORT...: lines "PORT INODE" of the sockets that listen there
  awk 'BEGIN { for (i = 3; i < ARGC; i++) { wanted[sprintf("%04X", ARGV[i])] = ARGV[i]; delete ARGV[i] } }
    $4 == "0A" { split($2, address, ":"); if (address[2] in wanted) print wanted[address[2]], $10 }' \
    /proc/net/tcp /proc/net/tcp6 "$@" 2>/dev/null
}

look_at_sockets() { # listeners: JSON; answering: whether anybody listens on the HTTP port
  local sockets number inode folders=() pid ours='' found
  listeners='' answering=''
  sockets=$(listening "$@")
  [[ -n $sockets ]] || return 0
  for pid in $own; do folders+=("/proc/$pid/fd"); done
  ((${#folders[@]})) && ours=$(find "${folders[@]}" -maxdepth 1 -lname 'socket:*' -printf '%l %h\n' 2>/dev/null)
  while read -r number inode; do
    [[ $number == "$port" ]] && answering=yes
    found="{\"port\": $number, "
    if [[ $'\n'$ours == *$'\n'"socket:[$inode] /proc/"* ]]; then
      pid=${ours#*"socket:[$inode] /proc/"}
      found+="\"ours\": true, \"pid\": ${pid%%/*}}"
    else
      holder_of "socket:\[$inode\]"
      if [[ -n $REPLY ]]; then
        person "$REPLY"
        found+="\"ours\": false, $REPLY}"
      elif [[ $'\n'$(listening "$number")$'\n' != *$'\n'"$number $inode"$'\n'* ]]; then
        continue # closed while we looked
      elif [[ -n $own ]] && late_socket "$inode"; then
        found+="\"ours\": true, \"pid\": $REPLY}"
      else
        found+='"ours": false}'
      fi
    fi
    listeners+="${listeners:+, }$found"
  done <<<"$sockets"
}

late_socket() { # late_socket INODE: REPLY is the process of ours that holds it; own may have grown since
  local pid
  for pid in $own; do
    REPLY=$pid
    [[ -n $(find "/proc/$pid/fd" -lname "socket:\[$1\]" -print -quit 2>/dev/null) ]] && return
  done
  return 1
}

look_at_processes() { # processes: JSON; ticks: CPU that they have used
  local pid fields role
  processes='' ticks=0
  for pid in $own; do
    command_line "$pid"
    case $REPLY in
      *sglang::scheduler*) role=scheduler ;;
      *sglang-jax::detokenizer*) role=detokenizer ;;
      *-m\ sgl_jax.launch_server*) role=launcher ;;
      *) role=other ;;
    esac
    processes+="${processes:+, }{\"pid\": $pid, \"role\": \"$role\"}"
    fields=
    { IFS= read -r -d '' fields <"/proc/$pid/stat"; } 2>/dev/null
    read -r -a fields <<<"${fields##*) }"
    ticks=$((ticks + ${fields[11]:-0} + ${fields[12]:-0}))
  done
}

look_at_chips() { # chips: JSON of who else holds them
  local devices
  chips=''
  devices=$(compgen -G '/dev/accel[0-9]*' || compgen -G '/dev/vfio/[0-9]*') || return 0
  [[ -n $devices ]] && holder_of '/dev/accel[0-9]*' '/dev/vfio/[0-9]*'
  [[ -z $REPLY ]] || { person "$REPLY" && chips="{$REPLY}"; }
}

# look_at_log: marks and errors as JSON, growth: bytes without what the server says of our own looks at it.
# One pass: the first line of each mark, and the first lines that Python or argparse print as the reason of an end.
look_at_log() {
  local name line
  declare -A found=()
  errors='' growth=0 marks=''
  while IFS=$'\t' read -r name line; do
    case $name in
      growth) growth=$line ;;
      error) quote "$line" && errors+="${errors:+, }$REPLY" ;;
      *) quote "$line" && found[$name]=$REPLY ;;
    esac
  done < <(tr -d '\000' 2>/dev/null <"$log" | awk '
    function mark(name, text) { if (!(name in seen) && index($0, text)) { seen[name] = 1; print name "\t" $0 } }
    !index($0, "GET /health") { growth += length($0) + 1 }
    { mark("begins", "] Begins to synchronize")
      mark("publisher", "Succeeds to synchronize!")
      mark("subscriber", "Succeeds to synchronizes!")
      mark("weights", "weights loaded successfully!")
      mark("precompiled", "Completes worker precompile")
      mark("fired_up", "The server is fired up and ready to roll!")
      mark("scheduler_exception", "Scheduler hit an exception")
      mark("port_in_use", "[Errno 98]")
      mark("child_failed", "Child process unexpectedly failed with exitcode")
      mark("peer_died", "another task died")
      mark("shim_failed", "[tpu-stack shim] could not") }
    errors < 8 && (/^[A-Za-z_.]*(Error|Exception)(: .*)?$/ || /: error: / || /\[Errno [0-9]+\]/) { errors++; print "error\t" $0 }
    END { print "growth\t" growth + 0 }')
  for name in begins publisher subscriber weights precompiled fired_up scheduler_exception port_in_use child_failed peer_died shim_failed; do
    marks+="${marks:+, }\"$name\": ${found[$name]:-null}"
  done
}

# Before the processes are counted: the one that wrote it must be among them, or has died.
devices=null
[[ ! -s $dir/devices.json ]] || { quote "$(<"$dir/devices.json")" 1000 && devices=$REPLY; }

count_ours
look_at_processes
supervised=false
read_attempt "$dir" && recorded_alive "$a_pid" "$a_start" && supervised=true
started=false
[[ ! -d $dir/started ]] || started=true
number_in "$dir/exit_code" && exit_code=$REPLY

python='' python_runs=false
{ IFS= read -r -d '' python <"$dir/files/argv"; } 2>/dev/null
[[ -n $python && -x $python ]] && python_runs=true

look_at_sockets "$port" ${dist_port:+"$dist_port" "$((dist_port + 5))" "$((dist_port + 6))"}
look_at_chips
health=000
if [[ -n $answering ]]; then
  health=$(curl --silent --max-time 2 --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$port/health" 2>/dev/null)
fi

{ read -r _ && read -r _ _ _ disk _; } < <(df -Pk "$HOME") || disk=
disk=${disk:+$((disk / 1024))}
read -r log_bytes log_time < <(stat -c '%s %Y' "$log" 2>/dev/null || printf '0 0\n')
quote "$python" && python=$REPLY
log_last=
while IFS= read -r line || [[ -n $line ]]; do [[ -z ${line//[[:space:]]/} ]] || log_last=$line; done < <(tail -c 2000 "$log" 2>/dev/null | tr -d '\000')
quote "$log_last" && log_last=$REPLY
# Last, so that an exit or an exception that was seen above has its reason here.
look_at_log

printf '{"time": %s, "started": %s, "supervised": %s, "exit_code": %s, ' "$EPOCHSECONDS" "$started" "$supervised" "$exit_code"
printf '"python": %s, "python_runs": %s, "disk_free_mib": %s, ' "$python" "$python_runs" "${disk:-null}"
printf '"processes": [%s], "cpu_ticks": %s, "listeners": [%s], "chip_holders": [%s], ' "$processes" "$ticks" "$listeners" "$chips"
printf '"health": %s, "devices": %s, ' "$((10#${health:-0}))" "$devices"
printf '"log_bytes": %s, "log_growth": %s, "log_age": %s, "log_last": %s, ' \
  "$log_bytes" "$growth" "$((log_time ? EPOCHSECONDS - log_time : 0))" "$log_last"
printf '"marks": {%s}, "errors": [%s]}\n' "$marks" "$errors"
