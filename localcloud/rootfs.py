"""A worker's own files: a root of its own, made once, with nothing of the host's but what every machine has.

``/usr`` and its like are the host's, mounted read-only by ``guest/boot.sh``; ``/etc`` starts as a copy of the
harmless part of the host's, with accounts, names and keys of the worker's own; ``/home``, ``/root``, ``/tmp``
and ``/var`` start empty. All of it lies under the worker's folder and goes with it.
"""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

from localcloud.passwd import GROUP, PASSWD, SHADOW

GUEST = Path(__file__).parent / "guest"

PATH = "/opt/python3.12/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""The PATH of a worker's logins: ``python3.12`` works, as on a v6e-ubuntu-2404 image."""

COPIED = (
    "adduser.conf", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debian_version",
    "default/useradd", "deluser.conf", "gai.conf", "host.conf", "inputrc", "ld.so.cache", "ld.so.conf",
    "ld.so.conf.d", "locale.alias", "localtime", "login.defs", "lsb-release", "magic", "mime.types",
    "nsswitch.conf", "os-release", "pam.conf", "pam.d", "profile", "profile.d", "protocols", "rpc", "security",
    "services", "shells", "skel", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""What a worker's ``/etc`` takes over from the host's: nothing that names the host, its users or its secrets."""

FOLDERS = {
    "dev": 0o755, "etc": 0o755, "home": 0o755, "media": 0o755, "mnt": 0o755, "opt": 0o755, "proc": 0o555,
    "root": 0o711, "run": 0o755, "srv": 0o755, "sys": 0o555, "tmp": 0o1777, "var": 0o755, "var/cache": 0o755,
    "var/lib": 0o755, "var/log": 0o755, "var/spool": 0o755, "var/tmp": 0o1777, "etc/ssh": 0o755,
    "etc/default": 0o755, "etc/sudoers.d": 0o750,
}  # fmt: skip

SUDOERS = f"""Defaults env_reset
Defaults secure_path="{PATH}"
root ALL=(ALL:ALL) ALL
@includedir /etc/sudoers.d
"""

SSHD = f"""# OpenSSH as the machine's own; what differs from the defaults makes many short connections cheap.
Port 22
ListenAddress 0.0.0.0
HostKey /etc/ssh/ssh_host_ed25519_key
AuthorizedKeysFile .ssh/authorized_keys
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
UsePAM no
UseDNS no
PrintMotd no
PrintLastLog no
MaxStartups 1000:30:2000
MaxSessions 1000
AcceptEnv LANG LC_*
SetEnv PATH={PATH} LANG=C.UTF-8
Subsystem sftp internal-sftp
PidFile /run/sshd.pid
"""


def create_root(folder: Path, *, etc: Path = Path("/etc")) -> str:
    """Make ``folder/root`` for a new worker; returns the public host key, its type and base64.

    Done before any process runs in it: nothing in it can be a trap for the one who writes.
    """
    root = folder / "root"
    for name, mode in FOLDERS.items():
        (root / name).mkdir(parents=True, exist_ok=True)
        (root / name).chmod(mode)
    for name in COPIED:
        _copy(etc / name, root / "etc" / name)
    for name, text in _written().items():
        (root / "etc" / name).write_text(text, encoding="utf-8")
    for name in ("shadow", "gshadow"):
        (root / "etc" / name).chmod(0o640)
    (root / "etc/mtab").symlink_to("/proc/self/mounts")
    (root / "var/run").symlink_to("/run")
    (root / "var/lock").symlink_to("/run/lock")
    for name in ("sudoers", "sudoers.d/google_sudoers"):
        (root / "etc" / name).chmod(0o440)
    return _host_key(root / "etc/ssh/ssh_host_ed25519_key")


def _written() -> dict[str, str]:
    return {
        "passwd": PASSWD,
        "group": GROUP,
        "shadow": SHADOW,
        "gshadow": "",
        "fstab": "",
        "environment": f'PATH="{PATH}"\n',
        "profile.d/tpu-vm-path.sh": f"PATH={PATH}\nexport PATH\n",
        "resolv.conf": "nameserver 169.254.169.254\n",
        "ssh/sshd_config": SSHD + _penalties(),
        "sudoers": SUDOERS,
        "sudoers.d/google_sudoers": "%google-sudoers ALL=(ALL:ALL) NOPASSWD:ALL\n",
    }


@cache
def _penalties() -> str:
    """OpenSSH 9.8 and newer shut out an address after a few failed logins; older ones do not know the key."""
    shown = subprocess.run(["/usr/bin/ssh", "-V"], capture_output=True, text=True, check=False).stderr
    digits = shown.removeprefix("OpenSSH_").split("p")[0].split(",")[0].split(".")
    try:
        version = tuple(int(part) for part in digits)
    except ValueError:
        return ""
    return "PerSourcePenalties no\n" if version >= (9, 8) else ""


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True)
    elif source.is_symlink() and not source.readlink().is_absolute():
        # Such as os-release -> ../usr/lib/os-release, which holds inside too.
        target.symlink_to(source.readlink())
    else:
        shutil.copy2(source, target)


def _host_key(path: Path) -> str:
    subprocess.run(  # noqa: S603 - fixed program, a path of ours
        ["/usr/bin/ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", str(path)], check=True, timeout=20
    )
    return " ".join(path.with_suffix(".pub").read_text().split()[:2])
