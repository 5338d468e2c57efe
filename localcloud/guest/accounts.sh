#!/bin/sh
# The guest agent's job for SSH keys: makes the accounts and keys of a worker equal to the metadata.
#
# stdin: lines `USER KEY`, all keys of one user together. An account is made when a key names it (home,
# bash, sudo without password); keys that are gone are taken out, keys that the user added by hand stay,
# and so do accounts and homes (source: the behaviour of Google's guest agent, which marks its keys with
# the comment line below and keeps homes).
set -eu
export LC_ALL=C

mark='# Added by Google'
group=google-sudoers
managed=/var/lib/google/users
wanted=$(mktemp)
trap 'rm -f "$wanted" "$wanted.users"' EXIT
cat >"$wanted"
mkdir -p /var/lib/google
touch "$managed"

home_of() { getent passwd "$1" | cut -d: -f6; }

# The user's own keys first, as they stand, then the managed ones, each after its mark.
write_keys() {
    user=$1 home=$(home_of "$1")
    [ -n "$home" ] && [ -d "$home" ] || return 0
    install -d -m 700 -o "$user" -g "$user" "$home/.ssh"
    new=$home/.ssh/authorized_keys.new
    rm -f "$new"
    if [ -f "$home/.ssh/authorized_keys" ]; then
        awk -v mark="$mark" '$0 == mark { skip = 1; next } skip { skip = 0; next } { print }' \
            "$home/.ssh/authorized_keys" >"$new"
    fi
    awk -v user="$user" -v mark="$mark" '$1 == user { sub(/^[^ ]+ /, ""); print mark; print }' "$wanted" >>"$new"
    chmod 600 "$new"
    chown "$user:$user" "$new"
    mv "$new" "$home/.ssh/authorized_keys"
}

cut -d' ' -f1 "$wanted" | sort -u | while IFS= read -r user; do
    if ! getent passwd "$user" >/dev/null; then
        useradd --create-home --shell /bin/bash --password '*' --groups "$group,adm,video,plugdev" "$user"
    elif [ "$user" != root ]; then
        gpasswd -a "$user" "$group" >/dev/null
    fi
    write_keys "$user"
done

cut -d' ' -f1 "$wanted" | sort -u >"$wanted.users"
sort -u "$managed" | comm -23 - "$wanted.users" | while IFS= read -r user; do
    write_keys "$user"
    [ "$user" = root ] || gpasswd -d "$user" "$group" >/dev/null 2>&1 || true
done
mv "$wanted.users" "$managed"
