"""A Pulumi plugin written in Python, as a process: what the engine expects of any plugin, in one place.

The engine starts a plugin in a process group of its own, holds a pipe to its standard input open, reads
one line, the port, from its standard output and speaks gRPC to it on loopback. When it is done it sends
SIGINT to the whole group, waits five seconds and then kills (source: pulumi 3.259,
``pkg/resource/plugin/plugin.go``). Used by the language host and by the gcp stand-in.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MAX_MESSAGE_BYTES = 400 * 1024 * 1024
"""The engine's own limit of one message (source: pulumi 3.259, ``sdk/go/common/util/rpcutil``)."""

GRACE_SECONDS = 1.0
"""How long calls under way may last once the engine is done; well under its five seconds."""


def use_bare_stubs() -> None:
    """Make ``pulumi.runtime.proto`` importable without running the SDK's own package modules.

    A plugin needs the generated stubs only; the SDK around them costs 0.25 s in every process, and each
    operation of the engine starts two. Does nothing where the SDK is imported already.
    """
    if "pulumi" in sys.modules:
        return
    home = next(
        (Path(entry, "pulumi") for entry in sys.path if Path(entry, "pulumi", "runtime", "proto").is_dir()), None
    )
    if home is None:
        return
    for name, folder in (
        ("pulumi", home),
        ("pulumi.runtime", home / "runtime"),
        ("pulumi.runtime.proto", home / "runtime" / "proto"),
    ):
        module = types.ModuleType(name)
        module.__path__ = [str(folder)]
        sys.modules[name] = module


def serve(register: Callable[..., None], *, at_end: Callable[[], None]) -> None:
    """Serve until the engine is done with us: SIGINT, SIGTERM, or its end of our standard input closed.

    The last means that the engine died without a word (``kill -9``): a plugin that stayed behind would
    be left over for good.

    Args:
        register: adds the servicer to the ``grpc.Server`` it is given.
        at_end: called once before the server stops, to end what calls under way wait for.
    """
    import grpc

    options = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    ]
    server = grpc.server(ThreadPoolExecutor(max_workers=64), options=options)
    register(server)
    port = server.add_insecure_port("127.0.0.1:0")
    done = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: done.set())
    threading.Thread(target=_wait_for_end_of_input, args=(done,), daemon=True).start()
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    done.wait()
    at_end()
    server.stop(GRACE_SECONDS).wait()


def _wait_for_end_of_input(done: threading.Event) -> None:
    """Set ``done`` when standard input, if it is a pipe, comes to its end; a terminal or a file says nothing."""
    try:
        if not stat.S_ISFIFO(os.fstat(0).st_mode):
            return
        while os.read(0, 4096):
            pass
    except OSError:
        return
    done.set()
