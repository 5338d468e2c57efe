"""The Pulumi CLI: an installed one that is new enough, or else the pinned one, built from its Go module.

The build takes about four minutes on two cores and is the same for every clone, so it goes to the shared cache. It is
made beside its final folder and moved there whole, under a lock: a killed build leaves nothing that looks finished,
and of two set-ups at once one builds and the other waits.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from toolchain.install.context import Context, beside, digest, dotted, runs, version_of
from toolchain.install.golang import Module, build_environment, find_go, read_module
from toolchain.install.problems import Missing, StepFailed

OLDEST = (3, 259)
"""The engine that the stand-in, the language host and the policy pack were proved with."""

COMMAND = "github.com/pulumi/pulumi/pkg/v3/cmd/pulumi"
SDK = "github.com/pulumi/pulumi/sdk/v3"
HOST = "pulumi-language-python"
EXEC_SCRIPT = "pulumi-language-python-exec"
FLAGS = ("-mod=readonly", "-trimpath", "-tags", "osusergo,grpcnotrace")
LINK = "-s -w -X github.com/pulumi/pulumi/sdk/v3/go/common/version.Version="
"""Without a version linked in, the Automation API refuses the CLI."""


@dataclass(frozen=True)
class Cli:
    """A Pulumi CLI that can be used.

    ``folder`` holds ``pulumi`` and the exec script; ``own_host`` says that it has no language host of its own.
    """

    folder: Path
    own_host: bool


class PulumiCli:
    """Find or build the CLI."""

    name = "pulumi"

    def __init__(self, context: Context) -> None:
        self._context = context
        self._module: Module = read_module(context.root / "toolchain")
        key = digest(*self._module.files, " ".join((*FLAGS, LINK, platform.machine())))
        self.cached = context.caches / "pulumi" / f"{self._module.pulumi.lstrip('v')}-{key}" / "bin"
        self._installed, self._passed_over = self._look_for_installed()

    def cli(self) -> Cli:
        """The CLI in use, once this step is done."""
        return Cli(self.cached, True) if self._installed is None else Cli(self._installed, False)

    def done(self) -> bool:
        if self._installed is not None:
            return True
        return runs(self.cached / "pulumi") and runs(self.cached / EXEC_SCRIPT)

    def prerequisites(self) -> list[Missing]:
        go = find_go(self._context, self._module)
        return [go] if isinstance(go, Missing) else []

    def run(self) -> str:
        if self._passed_over:
            self._context.progress.line(self.name, self._passed_over)
        with self._context.locked(self.name, beside(self.cached.parent, ".lock")):
            if self.done():
                return f"{self._module.pulumi} was built by another set-up meanwhile"
            self._build()
        return f"{self._module.pulumi} built: {self.cached}"

    def _build(self) -> None:
        go = find_go(self._context, self._module)
        if isinstance(go, Missing):
            raise go
        unfinished = beside(self.cached.parent, ".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        folder = unfinished / "bin"
        folder.mkdir(parents=True)
        self._compile(go, folder / "pulumi")
        self._copy_exec_script(go, folder / EXEC_SCRIPT)
        said = self._context.processes.run(self.name, [folder / "pulumi", "version"], env=self._quiet())
        if said.strip() != self._module.pulumi:
            raise StepFailed(
                self.name, f"the CLI that was built calls itself {said.strip()}, not {self._module.pulumi}"
            )
        shutil.rmtree(self.cached.parent, ignore_errors=True)
        unfinished.rename(self.cached.parent)

    def _compile(self, go: Path, target: Path) -> None:
        compiled = 0

        def count(line: str) -> None:
            nonlocal compiled
            if line.startswith("go: downloading"):
                self._context.progress.running(self.name, "fetching Go modules")
            else:
                compiled += 1
                self._context.progress.running(self.name, f"building the CLI: {compiled} packages compiled")

        self._context.progress.line(self.name, f"building {self._module.pulumi} (about 4 minutes on 2 cores, once)")
        self._context.processes.run(
            self.name,
            [go, "build", "-v", *FLAGS, "-ldflags", LINK + self._module.pulumi, "-o", target, COMMAND],
            env=build_environment(self._context),
            cwd=self._module.folder,
            on_line=count,
        )

    def _copy_exec_script(self, go: Path, target: Path) -> None:
        """The script that runs a program's Python: in no wheel, but in the SDK's Go module, which the build fetched."""
        where = ["list", "-mod=readonly", "-m", "-f", "{{.Dir}}", SDK]
        environment = build_environment(self._context)
        said = self._context.processes.run(self.name, [go, *where], env=environment, cwd=self._module.folder)
        source = Path(said.strip().splitlines()[-1]) / "python" / "cmd" / EXEC_SCRIPT
        if not source.is_file():
            raise StepFailed(self.name, f"{source} is not in the SDK's module")
        shutil.copyfile(str(source), str(target))
        target.chmod(0o755)

    def _look_for_installed(self) -> tuple[Path | None, str]:
        """The folder of an installed CLI that will do; else nothing, and why the one that was found will not."""
        found = self._on_path()
        if found is None:
            return None, ""
        identity = f"{found} {found.stat().st_mtime_ns}"
        remembered = self._context.read("installed-pulumi")
        if remembered.get("identity") != identity:
            remembered = {"identity": identity, "version": self._ask(found)}
            self._context.remember("installed-pulumi", remembered)
        version = version_of(str(remembered.get("version")))
        if version < OLDEST:
            return None, f"{found} is {dotted(version) or 'no Pulumi that runs'}: older than {dotted(OLDEST)}, not used"
        if not runs(found.parent / HOST):
            return None, f"{found} has no {HOST} beside it: not used"
        return found.parent, ""

    def _on_path(self) -> Path | None:
        """The user's own ``pulumi``, seen through links; our own, which `cloud.env` puts on PATH, is not meant."""
        own = (self._context.local, self._context.caches)
        for folder in self._context.environment.get("PATH", "").split(os.pathsep):
            program = Path(os.path.realpath(Path(folder) / "pulumi"))
            if folder and runs(program) and not any(each in program.parents for each in own) and not _is_ours(program):
                return program
        return None

    def _ask(self, program: Path) -> str:
        try:
            answer = subprocess.run(  # noqa: S603  (the user's own CLI)
                [str(program), "version"],
                env=self._quiet(),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=30,
            )
        except (OSError, subprocess.SubprocessError):
            return ""
        return answer.stdout.strip()

    def _quiet(self) -> dict[str, str]:
        return self._context.clean_environment(PULUMI_SKIP_UPDATE_CHECK="true", PULUMI_DISABLE_TELEMETRY="true")


def _is_ours(program: Path) -> bool:
    """Whether this is the folder that set-up made in some clone: its language host is our launcher."""
    host = program.parent / HOST
    return host.is_file() and "toolchain.language_host" in host.read_text(errors="replace")[:500]
