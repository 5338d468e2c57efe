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

# Not by useradd: it waits for the disk several times, which makes a boot slow on a busy machine.
add_account() {
    number=$(awk -F: 'BEGIN { next_one = 1000 }
        $3 >= next_one && $3 < 60000 { next_one = $3 + 1 } END { print next_one }' /etc/passwd /etc/group)
    echo "$1:x:$number:" >>/etc/group
    echo "$1:*:19000:0:99999:7:::" >>/etc/shadow
    echo "$1:x:$number:$number::/home/$1:/bin/bash" >>/etc/passwd
    [ -d "/home/$1" ] || cp -r /etc/skel "/home/$1"
    chown -R "$number:$number" "/home/$1"
    chmod 755 "/home/$1"
}

# membership add|remove USER GROUP...
membership() {
    how=$1 user=$2
    shift 2
    awk -F: -v OFS=: -v how="$how" -v user="$user" -v groups=" $* " '
        index(groups, " " $1 " ") {
            count = split($4, members, ",")
            $4 = how == "add" ? user : ""
            for (i = 1; i <= count; i++) if (members[i] != user) $4 = $4 ($4 == "" ? "" : ",") members[i]
        }
        { print }' /etc/group >/etc/group.new
    mv /etc/group.new /etc/group
}

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
        add_account "$user"
        membership add "$user" adm video plugdev
    fi
    [ "$user" = root ] || membership add "$user" "$group"
    write_keys "$user"
done

cut -d' ' -f1 "$wanted" | sort -u >"$wanted.users"
sort -u "$managed" | comm -23 - "$wanted.users" | while IFS= read -r user; do
    write_keys "$user"
    membership remove "$user" "$group"
done
mv "$wanted.users" "$managed"
