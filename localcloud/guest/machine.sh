#!/bin/sh
# The boot of a worker inside its own root: names, accounts, the start-up script, then the reaping init
# with OpenSSH's own sshd as its child. Everything it needs lies in /run/localcloud, read-only.
set -eu

seed=/run/localcloud
cat "$seed/hosts" >/etc/hosts
cat "$seed/hostname" >/etc/hostname
/bin/sh "$seed/accounts.sh" <"$seed/ssh-keys"

if [ -e "$seed/startup-script" ]; then
    (
        cd /
        status=0
        env -i PATH="$PATH" HOME=/root LANG=C.UTF-8 setsid "$seed/startup-script" || status=$?
        echo "startup-script exit status $status"
    ) >>/var/log/startup-script.log 2>&1 </dev/null &
fi

exec tini -- /usr/sbin/sshd -D -E /var/log/sshd.log
