#!/bin/sh
# What every worker gets at boot. The Cloud TPU API hands it over as metadata `startup-script` and it runs as
# root; whether that is at every boot is not documented, so each step looks before it acts. Its parameters
# are metadata attributes of their own. Nothing secret belongs here: every process on a worker can read it.
set -eu

home=/var/lib/tpu-stack
metadata=http://metadata.google.internal/computeMetadata/v1/instance/attributes

attribute() {
    curl -fsS -m 5 -H 'Metadata-Flavor: Google' "$metadata/$1" 2>/dev/null || true
}

mkdir -p "$home"

# Open files, for logins from now on. Once: the file outlives a boot.
open_files=$(attribute tpu-stack-open-files)
limits=/etc/security/limits.d/90-tpu-stack.conf
wanted="* soft nofile $open_files
* hard nofile $open_files"
if [ -n "$open_files" ] && [ "$(cat "$limits" 2>/dev/null || true)" != "$wanted" ]; then
    mkdir -p "${limits%/*}"
    printf '%s\n' "$wanted" >"$limits"
fi

# Transparent huge pages: libtpu asks for `always`. The kernel forgets them at every boot.
huge_pages=$(attribute tpu-stack-huge-pages)
switch=/sys/kernel/mm/transparent_hugepage/enabled
if [ -n "$huge_pages" ] && [ -e "$switch" ] && ! grep -qF "[$huge_pages]" "$switch"; then
    echo "$huge_pages" >"$switch"
fi

# The marker: which boot this has been done for.
cat /proc/sys/kernel/random/boot_id >"$home/startup.done"
