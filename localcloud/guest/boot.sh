#!/bin/sh
# The first process of a worker, in namespaces of its own (unshare), still seeing the host's files:
# builds the worker's root and hands over to machine.sh inside it.
#
#   boot.sh WORKER_FOLDER HOSTNAME ADDRESS PYTHON_PREFIX WHEELHOUSE
#
# Says `ready` on stdout once its network namespace exists and goes on when a line comes back on stdin:
# between the two the caller moves eth0 in. An end of file instead means that the caller died: so do we.
set -eu

folder=$1 hostname=$2 address=$3 python=$4 wheelhouse=$5
root=$folder/root

echo ready
IFS= read -r _

echo "$hostname" >/proc/sys/kernel/hostname
ip -batch - <<EOF
link set lo up
address add 169.254.169.254/32 dev lo
address add $address/24 dev eth0
link set eth0 up
EOF

read_only() {
    mkdir -p "$2"
    mount -o rbind,ro "$1" "$2"
}

mount --bind "$root" "$root"
for name in usr bin sbin lib lib32 lib64 libx32; do
    if [ -L "/$name" ]; then
        ln -sfn "$(readlink "/$name")" "$root/$name"
    elif [ -d "/$name" ]; then
        read_only "/$name" "$root/$name"
    fi
done
[ -z "$python" ] || read_only "$python" "$root/opt/python3.12"
# A Python built with a shared library finds it only by the path it was built for.
if [ -n "$python" ] && ls "$python"/lib/libpython3.*.so.* >/dev/null 2>&1; then
    read_only "$python" "$root$python"
fi
[ -z "$wheelhouse" ] || read_only "$wheelhouse" "$root/opt/wheelhouse"
# Hundreds of links each: to copy them takes longer than all the rest of a boot.
for name in /etc/alternatives /etc/ssl/certs /var/lib/dpkg; do
    [ ! -d "$name" ] || read_only "$name" "$root$name"
done

mount -t proc -o nosuid,nodev,noexec proc "$root/proc"
# What a worker's root writes there would change the whole machine.
mount -o bind,ro "$root/proc/sys" "$root/proc/sys"
[ ! -e /proc/sysrq-trigger ] || mount -o bind,ro /dev/null "$root/proc/sysrq-trigger"
mount -t sysfs -o ro,nosuid,nodev,noexec sysfs "$root/sys" || mount -o bind,ro /sys "$root/sys"

mount -t tmpfs -o mode=755,nosuid tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for name in null zero full random urandom tty; do
    : >"$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$root/dev/pts"
mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
ln -s fd/0 "$root/dev/stdin"
ln -s fd/1 "$root/dev/stdout"
ln -s fd/2 "$root/dev/stderr"
# Plain files in the place of the chips' device files: whoever holds a chip can be seen holding one.
while IFS= read -r device; do
    mkdir -p "$root/dev/$(dirname "$device")"
    : >"$root/dev/$device"
    chmod 666 "$root/dev/$device"
done <"$folder/seed/devices"

mount -t tmpfs -o mode=755,nosuid,nodev tmpfs "$root/run"
mkdir "$root/run/localcloud" "$root/run/sshd" "$root/run/lock" "$root/run/user"
read_only "$folder/seed" "$root/run/localcloud"

mkdir -p "$root/.host"
cd "$root"
pivot_root . .host
cd /
umount -l /.host
rmdir /.host

# Not a wall against an attacker; a mistake in a worker must not reach the machine.
cut=-sys_module,-sys_rawio,-sys_time,-sys_admin,-mknod,-syslog,-mac_admin,-mac_override,-linux_immutable
exec setpriv --bounding-set "$cut" \
    /bin/sh /run/localcloud/machine.sh </dev/null >>/var/log/boot.log 2>&1
