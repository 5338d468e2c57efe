"""The metadata key ``ssh-keys``: anybody may have written anything there."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from localcloud.keys import ssh_keys

NOW = datetime(2026, 6, 1, tzinfo=UTC)


def test_keys_are_read_as_gcloud_writes_them() -> None:
    text = "\nann:ssh-rsa AAAA ann@host\nbob:ecdsa-sha2-nistp256 BBBB google-ssh {}\n ann:ssh-ed25519 CCCC \n"
    assert ssh_keys({"ssh-keys": text}, NOW) == (("ann", "ssh-ed25519 CCCC"), ("ann", "ssh-rsa AAAA ann@host"))


def test_an_expired_key_is_left_out() -> None:
    line = 'ann:ssh-rsa AAAA google-ssh {"userName":"ann","expireOn":"%s"}'
    assert ssh_keys({"ssh-keys": line % "2026-05-31T00:00:00+0000"}, NOW) == ()
    assert len(ssh_keys({"ssh-keys": line % "2026-06-02T00:00:00+0000"}, NOW)) == 1


def test_what_is_no_login_name_or_no_key_is_left_out() -> None:
    lines = [
        "Ann:ssh-rsa AAAA",
        "a b:ssh-rsa AAAA",
        "$(x):ssh-rsa AAAA",
        "ann:rubbish",
        ":ssh-rsa AAAA",
        "../x:ssh-rsa A",
    ]
    assert ssh_keys({"ssh-keys": "\n".join(lines)}, NOW) == ()
    assert ssh_keys({}, NOW) == ()


@given(st.text())
def test_no_text_makes_more_than_one_line_a_key(text: str) -> None:
    for user, key in ssh_keys({"ssh-keys": text}, NOW):
        assert " " not in user and "\n" not in user + key
