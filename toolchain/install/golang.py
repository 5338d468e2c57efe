"""The Go that builds the Pulumi CLI, where no Pulumi is installed."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from toolchain.install.context import Context, dotted, runs, version_of
from toolchain.install.problems import Missing

USUAL_PLACE = Path("/usr/local/go/bin/go")
"""Where Go's own instructions unpack it; people often do not have it on PATH."""

FETCHES_TOOLCHAINS = (1, 21)
"""From this version on, Go fetches a newer Go by itself where a module asks for one, unless GOTOOLCHAIN=local."""

ROOMY = 8 << 30
"""Memory in bytes from which the compiler may let its heap grow to five times what it uses: a fifth less work (on two
large packages 53 s of processor time became 42 s). The whole build took 1.7 GB at most with it, as without."""


@dataclass(frozen=True)
class Module:
    """What toolchain/go.mod pins."""

    folder: Path
    go: tuple[int, ...]
    pulumi: str

    @property
    def files(self) -> tuple[Path, Path]:
        return self.folder / "go.mod", self.folder / "go.sum"


def read_module(folder: Path) -> Module:
    """Read the Go version and the Pulumi version that ``go.mod`` in ``folder`` asks for."""
    facts = {"go": "", "github.com/pulumi/pulumi/pkg/v3": ""}
    for line in (folder / "go.mod").read_text().splitlines():
        words = line.split()
        if len(words) > 1 and words[0] in facts:
            facts[words[0]] = words[1]
    return Module(folder, version_of(facts["go"]), facts["github.com/pulumi/pulumi/pkg/v3"])


def find_go(context: Context, module: Module) -> Path | Missing:
    """The ``go`` that can build ``module``, or why there is none, with the cure."""
    needed = dotted(module.go)
    go = context.which("go") or (USUAL_PLACE if runs(USUAL_PLACE) else None)
    if go is None:
        cure = f"Install either: Pulumi 3.259 or newer (https://www.pulumi.com/docs/install), or Go {needed} or newer (https://go.dev/dl)"
        return Missing("Pulumi", "neither it nor Go, which would build it, is installed", cure)
    cure = f"Install Go {needed} or newer (https://go.dev/dl), or Pulumi 3.259 or newer"
    try:
        have = version_of(_say(context, go, "version"))
    except (OSError, subprocess.SubprocessError) as error:
        return Missing(f"Go at {go}", f"does not run ({type(error).__name__})", cure)
    if have >= module.go:
        return go
    if have >= FETCHES_TOOLCHAINS and _say(context, go, "env", "GOTOOLCHAIN").strip() not in ("local", "path"):
        return go
    return Missing(f"Go {dotted(have)} at {go}", f"older than {needed}, which the Pulumi CLI needs", cure)


def build_environment(context: Context) -> dict[str, str]:
    """The user's environment for a build that is the same on every machine of one kind."""
    unwanted = ("GOOS", "GOARCH", "GOFLAGS")
    kept = {name: value for name, value in context.clean_environment().items() if name not in unwanted}
    if os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") >= ROOMY:
        kept.setdefault("GOGC", "400")
    return {**kept, "CGO_ENABLED": "0", "GOWORK": "off", "GO111MODULE": "on"}


def _say(context: Context, go: Path, *arguments: str) -> str:
    """What ``go`` answers, asked outside any module so that it speaks for itself."""
    answer = subprocess.run(  # noqa: S603  (the go that was found)
        [str(go), *arguments],
        cwd=os.sep,
        env=build_environment(context),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return answer.stdout
