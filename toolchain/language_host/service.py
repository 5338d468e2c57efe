"""The ``LanguageRuntime`` service: programs, providers and policy packs in Python, for the engine."""
# ruff: noqa: ARG002 - gRPC fixes the signatures

from __future__ import annotations

import importlib.metadata
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.empty_pb2 import Empty
from google.protobuf.json_format import MessageToDict
from pulumi.runtime.proto import language_pb2 as messages
from pulumi.runtime.proto import language_pb2_grpc, plugin_pb2

from toolchain.language_host.children import Children, output_of
from toolchain.language_host.environments import (
    EnvironmentMissing,
    PythonEnvironment,
    dependencies_of,
    find_environment,
    plugins_of,
)

ACTIONABLE_EXIT_CODE = 32
"""The program has shown its error itself (source: ``pulumi-language-python-exec``): bail, and add no line."""


class LanguageHost(language_pb2_grpc.LanguageRuntimeServicer):
    """One host, for one run of the CLI.

    Args:
        engine_address: where the engine listens.
        executor: the SDK's ``pulumi-language-python-exec``.
        children: what runs on the engine's behalf.
    """

    def __init__(self, engine_address: str, executor: Path, children: Children) -> None:
        self._engine_address = engine_address
        self._executor = executor
        self._children = children

    def Handshake(self, request: messages.LanguageHandshakeRequest, context: Any) -> messages.LanguageHandshakeResponse:
        self._engine_address = request.engine_address or self._engine_address
        return messages.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Empty, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=importlib.metadata.version("pulumi"))

    def About(self, request: messages.AboutRequest, context: Any) -> messages.AboutResponse:
        environment = _environment(request.info, context)
        return messages.AboutResponse(executable=str(environment.python), version=environment.version())

    def RuntimeOptionsPrompts(
        self, request: messages.RuntimeOptionsRequest, context: Any
    ) -> messages.RuntimeOptionsResponse:
        """No questions: one toolchain, a virtual environment."""
        return messages.RuntimeOptionsResponse()

    def GetRequiredPackages(
        self, request: messages.GetRequiredPackagesRequest, context: Any
    ) -> messages.GetRequiredPackagesResponse:
        found = plugins_of(_environment(request.info, context))
        return messages.GetRequiredPackagesResponse(
            packages=[
                plugin_pb2.PackageDependency(
                    kind="resource", name=plugin.name, version=plugin.version, server=plugin.server
                )
                for plugin in found
            ]
        )

    def GetProgramDependencies(
        self, request: messages.GetProgramDependenciesRequest, context: Any
    ) -> messages.GetProgramDependenciesResponse:
        environment = _environment(request.info, context)
        found = dependencies_of(environment, transitive=request.transitiveDependencies)
        return messages.GetProgramDependenciesResponse(
            dependencies=[messages.DependencyInfo(name=name, version=version) for name, version in found]
        )

    def InstallDependencies(
        self, request: messages.InstallDependenciesRequest, context: Any
    ) -> Iterator[messages.InstallDependenciesResponse]:
        """Make the virtual environment where it is missing, and install requirements.txt into it where there is one."""
        options = _options(request.info)
        home = Path(request.info.root_directory or request.directory, str(options.get("virtualenv") or ".venv"))
        steps: list[list[str]] = []
        if not (home / "bin" / "python").exists():
            steps.append([sys.executable, "-m", "venv", str(home)])
        if Path(request.directory, "requirements.txt").is_file():
            steps.append([str(home / "bin" / "python"), "-m", "pip", "install", "-q", "-r", "requirements.txt"])
        for argv in steps:
            child = self._children.start(argv, folder=request.directory, variables=os.environ, capture=True)
            for name, data in output_of(child):
                yield _install_chunk(name, data)
            code = self._children.wait(child)
            if code != 0:
                context.abort(grpc.StatusCode.INTERNAL, f"`{' '.join(argv)}` exited with {code}")

    def Run(self, request: messages.RunRequest, context: Any) -> messages.RunResponse:
        """Run a program to its end; what it writes is shown by the engine."""
        try:
            environment = find_environment(request.info.root_directory, _options(request.info))
        except EnvironmentMissing as error:
            return messages.RunResponse(error=str(error))
        variables = {
            **environment.variables(os.environ),
            "PULUMI_CONFIG": json.dumps(dict(request.config)),
            "PULUMI_CONFIG_SECRET_KEYS": json.dumps(list(request.configSecretKeys)),
        }
        argv = [str(environment.python), "-u", str(self._executor), *self._run_arguments(request)]
        child = self._children.start(argv, folder=request.pwd or ".", variables=variables, capture=False)
        if not context.add_callback(lambda: self._children.end(child)):
            self._children.end(child)
        code = self._children.wait(child)
        if code == ACTIONABLE_EXIT_CODE:
            return messages.RunResponse(bail=True)
        return messages.RunResponse(error="" if code == 0 else f"Program exited with non-zero exit code: {code}")

    def RunPlugin(self, request: messages.RunPluginRequest, context: Any) -> Iterator[messages.RunPluginResponse]:
        """Run a provider or a policy pack until it ends or the engine gives up the call."""
        environment = _environment(request.info, context)
        folder = request.info.program_directory
        if request.kind == "analyzer":
            # A policy pack looks for its own modules, so it runs in its folder, not in the program's.
            argv = [str(environment.python), "-u", "-m", "pulumi.policy", *request.args, folder]
            pwd = folder
        else:
            argv = [str(environment.python), "-u", str(Path(folder, request.info.entry_point or ".")), *request.args]
            pwd = request.pwd
        base = dict(entry.partition("=")[::2] for entry in request.env) or dict(os.environ)
        child = self._children.start(argv, folder=pwd, variables=environment.variables(base), capture=True)
        if not context.add_callback(lambda: self._children.end(child)):
            self._children.end(child)
        for name, data in output_of(child):
            yield _plugin_chunk(name, data)
        yield messages.RunPluginResponse(exitcode=self._children.wait(child))

    def Cancel(self, request: Empty, context: Any) -> Empty:
        self._children.end_running()
        return Empty()

    def _run_arguments(self, request: messages.RunRequest) -> list[str]:
        named = {
            "--monitor": request.monitor_address,
            "--engine": self._engine_address,
            "--project": request.project,
            "--stack": request.stack,
            "--pwd": request.pwd,
            "--parallel": str(request.parallel),
            "--organization": request.organization,
            "--root_directory": request.info.root_directory,
            "--dry_run": "true" if request.dryRun else "",
        }
        arguments = [part for name, value in named.items() if value for part in (name, value)]
        return [*arguments, request.info.entry_point or request.program or ".", *request.args]


def _options(info: messages.ProgramInfo) -> dict[str, object]:
    return dict(MessageToDict(info.options))


def _environment(info: messages.ProgramInfo, context: Any) -> PythonEnvironment:
    try:
        return find_environment(info.root_directory, _options(info))
    except EnvironmentMissing as error:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))
        raise


def _plugin_chunk(name: str, data: bytes) -> messages.RunPluginResponse:
    if name == "stdout":
        return messages.RunPluginResponse(stdout=data)
    return messages.RunPluginResponse(stderr=data)


def _install_chunk(name: str, data: bytes) -> messages.InstallDependenciesResponse:
    if name == "stdout":
        return messages.InstallDependenciesResponse(stdout=data)
    return messages.InstallDependenciesResponse(stderr=data)
