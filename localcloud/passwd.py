"""The accounts that a worker is born with: Debian's fixed ones that its programs name, and sshd's."""

from __future__ import annotations

_SYSTEM = (
    "root:0:0:/root:/bin/bash",
    "daemon:1:1:/usr/sbin:/usr/sbin/nologin",
    "bin:2:2:/bin:/usr/sbin/nologin",
    "sys:3:3:/dev:/usr/sbin/nologin",
    "man:6:12:/var/cache/man:/usr/sbin/nologin",
    "mail:8:8:/var/mail:/usr/sbin/nologin",
    "sshd:102:65534:/run/sshd:/usr/sbin/nologin",
    "nobody:65534:65534:/nonexistent:/usr/sbin/nologin",
)

_GROUPS = {
    "root": 0, "daemon": 1, "bin": 2, "sys": 3, "adm": 4, "tty": 5, "disk": 6, "mail": 8, "man": 12, "kmem": 15,
    "dialout": 20, "sudo": 27, "audio": 29, "utmp": 43, "video": 44, "shadow": 42, "plugdev": 46, "staff": 50,
    "users": 100, "google-sudoers": 900, "nogroup": 65534,
}  # fmt: skip


def _passwd() -> str:
    lines = []
    for entry in _SYSTEM:
        name, user, group, home, shell = entry.split(":")
        lines.append(f"{name}:x:{user}:{group}::{home}:{shell}\n")
    return "".join(lines)


PASSWD = _passwd()
GROUP = "".join(f"{name}:x:{number}:\n" for name, number in _GROUPS.items())
SHADOW = "".join(f"{entry.split(':')[0]}:*:19000:0:99999:7:::\n" for entry in _SYSTEM)
