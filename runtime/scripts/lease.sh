#!/bin/bash
# lease.sh: who may change what runs on the slice. Kept on worker 0, under a lock.
#   take TOKEN SECONDS HOLDER ATTEMPT   TAKEN | HELD holder attempt seconds-left
#   renew TOKEN SECONDS                 RENEWED | LOST holder attempt
#   release TOKEN                       RELEASED | LOST holder attempt
#   show                                FREE | HELD holder attempt seconds-left
# Time is the worker's uptime: the wall clocks of callers and workers may be wrong or be set back.
# The file: token, holder, attempt, boot id, uptime at which it ends, its length in seconds.
set -u
# shellcheck source=runtime/scripts/common.sh
. "${BASH_SOURCE[0]%/*}/common.sh"

file=$stack_home/lease

read_lease() { # sets l_token l_holder l_attempt l_left; 1 if nobody holds it
  local boot end length
  l_token='' l_holder='' l_attempt='' l_left=0
  { read -r l_token l_holder l_attempt boot end length <"$file"; } 2>/dev/null
  [[ $l_token && ${end-} =~ ^[0-9]+$ && ${length-} =~ ^[0-9]+$ ]] || return 1
  # After a reboot its holder may well be alive: it has one more length, counted from the boot.
  [[ $boot == "$this_boot" ]] || end=$length
  l_left=$((end - $(uptime_seconds)))
  ((l_left > 0))
}

write_lease() { # write_lease TOKEN HOLDER ATTEMPT SECONDS
  printf '%s %s %s %s %s %s\n' "$1" "$2" "$3" "$this_boot" "$(($(uptime_seconds) + $4))" "$4" | write_file "$file"
}

mkdir -p "$stack_home" && exec 9>"$stack_home/lease.lock" && flock -w 10 9 || exit 1
case ${1:-} in
  take)
    if read_lease && [[ $l_token != "$2" ]]; then
      printf 'HELD %s %s %s\n' "$l_holder" "$l_attempt" "$l_left"
    else
      write_lease "$2" "$4" "$5" "$3" && printf 'TAKEN\n'
    fi
    ;;
  renew)
    # One that ran out while nobody else took it is still its holder's.
    read_lease
    if [[ $l_token == "$2" ]]; then
      write_lease "$2" "$l_holder" "$l_attempt" "$3" && printf 'RENEWED\n'
    else
      printf 'LOST %s %s\n' "${l_holder:-nobody}" "${l_attempt:--}"
    fi
    ;;
  release)
    read_lease
    if [[ $l_token == "$2" ]]; then
      rm -f "$file" && printf 'RELEASED\n'
    else
      printf 'LOST %s %s\n' "${l_holder:-nobody}" "${l_attempt:--}"
    fi
    ;;
  show)
    if read_lease; then
      printf 'HELD %s %s %s\n' "$l_holder" "$l_attempt" "$l_left"
    else
      printf 'FREE\n'
    fi
    ;;
  *) printf 'usage: lease.sh take|renew|release|show ...\n' >&2 && exit 2 ;;
esac
