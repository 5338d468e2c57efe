"""``python -m toolchain.language_host [flags] ENGINE_ADDRESS``: prints its port, serves until the engine is done."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from toolchain.plugin_process import serve, use_bare_stubs

EXECUTOR = "pulumi-language-python-exec"


def find_executor(launcher: str | None) -> Path:
    """The SDK's program runner: beside our launcher, where set-up puts it, or on PATH.

    Raises:
        SystemExit: there is none; the message says how to get one.
    """
    if launcher:
        beside = Path(launcher).resolve().parent / EXECUTOR
        if beside.is_file():
            return beside
    found = shutil.which(EXECUTOR) or _beside_the_cli()
    if found is None:
        sys.exit(f"{EXECUTOR}: not found beside the language host, beside pulumi or on PATH. Run `make setup`")
    return Path(found)


def _beside_the_cli() -> str | None:
    cli = shutil.which("pulumi")
    candidate = Path(cli).resolve().parent / EXECUTOR if cli else None
    return str(candidate) if candidate is not None and candidate.is_file() else None


def main(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="pulumi-language-python")
    parser.add_argument("--launcher", help="the path of the launcher that the engine started")
    parser.add_argument("--tracing", help="taken and not used")
    parser.add_argument("engine_address", nargs="?", default="")
    # The engine may add flags of its own (logging, tracing) before the address; none concerns us.
    known, _ = parser.parse_known_args(arguments)

    use_bare_stubs()
    from pulumi.runtime.proto.language_pb2_grpc import add_LanguageRuntimeServicer_to_server

    from toolchain.language_host.children import Children
    from toolchain.language_host.service import LanguageHost

    children = Children()
    host = LanguageHost(known.engine_address, find_executor(known.launcher), children)
    serve(lambda server: add_LanguageRuntimeServicer_to_server(host, server), at_end=children.end_all)


if __name__ == "__main__":
    main(sys.argv[1:])
