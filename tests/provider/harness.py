"""The real engine, the stand-in as its gcp plugin, and a server that answers as was recorded."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from pulumi import automation
from pulumi.automation import events

from commands.pulumi_command import PinnedPulumi
from localcloud.provider.install import install_stand_in
from tests.provider.programs import SCENARIO_VARIABLE

PROJECT = """\
name: replay
runtime:
  name: python
  options:
    virtualenv: {environment}
"""


class RecordedApi:
    """Answers the recorded exchanges in their order; anything else is written down and refused for good."""

    def __init__(self) -> None:
        self.expected: list[dict[str, Any]] = []
        self.seen: list[dict[str, Any]] = []
        api = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                body = json.loads(self.rfile.read(length)) if length else None
                status, document = api.take(self.command, self.path, body, dict(self.headers))
                payload = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_: object) -> None:
                """Keep the tests' output clean."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v2alpha1/"

    def take(self, method: str, path: str, body: Any, headers: dict[str, str]) -> tuple[int, dict[str, Any]]:
        address = urlsplit(path)
        sent = {"method": method, "path": address.path, "query": dict(parse_qsl(address.query)), "body": body}
        sent["headers"] = {key.lower(): value for key, value in headers.items() if key.lower() in RECORDED_HEADERS}
        position = len(self.seen)
        self.seen.append(sent)
        if position < len(self.expected) and request_of(self.expected[position]) == sent:
            return int(self.expected[position]["status"]), self.expected[position]["response"]
        return 400, {"error": {"code": 400, "message": f"not recorded: {sent}"}}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


RECORDED_HEADERS = ("authorization", "content-type")


def request_of(exchange: dict[str, Any]) -> dict[str, Any]:
    """The part of a recorded exchange that the provider is answerable for."""
    return {key: exchange[key] for key in ("method", "path", "query", "body", "headers")}


@dataclass
class Outcome:
    """What an operation of the engine did, in the words of the recording."""

    events: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, int] = field(default_factory=dict)
    outputs: dict[str, Any] | None = None
    error: str | None = None
    output: str = ""


class Engine:
    """One stack on a backend of its own, driven through the Automation API."""

    def __init__(self, folder: Path, binary: Path, endpoint: str) -> None:
        home = folder / "pulumi-home"
        install_stand_in(home, Path(sys.executable))
        (folder / "state").mkdir()
        project = folder / "project"
        project.mkdir()
        (project / "Pulumi.yaml").write_text(PROJECT.format(environment=sys.prefix))
        (project / "__main__.py").write_text("from tests.provider.programs import run\n\nrun()\n")
        options = automation.LocalWorkspaceOptions(
            work_dir=str(project),
            pulumi_home=str(home),
            pulumi_command=PinnedPulumi(binary),
            env_vars={
                "PULUMI_BACKEND_URL": f"file://{folder / 'state'}",
                "PULUMI_CONFIG_PASSPHRASE": "replay",
                "PULUMI_SKIP_UPDATE_CHECK": "true",
            },
        )
        self._stack = automation.create_stack("s", work_dir=str(project), opts=options)
        config = {
            "gcp:project": "p",
            "gcp:zone": "us-east5-b",
            "gcp:accessToken": "x",
            "gcp:tpuV2CustomEndpoint": endpoint,
        }
        self._stack.set_all_config({key: automation.ConfigValue(value) for key, value in config.items()})

    def set_config(self, key: str, value: str) -> None:
        self._stack.set_config(key, automation.ConfigValue(value))

    def run(self, operation: str, scenario: str) -> Outcome:
        """Run ``operation`` (up, preview, refresh or destroy) with the program of ``scenario``."""
        outcome = Outcome()
        self._stack.workspace.env_vars[SCENARIO_VARIABLE] = scenario

        def on_event(event: events.EngineEvent) -> None:
            if event.resource_pre_event and event.resource_pre_event.metadata.type.startswith("gcp:"):
                outcome.events.append(_event(event.resource_pre_event.metadata))
            if event.summary_event:
                outcome.summary = {
                    str(getattr(k, "value", k)): v for k, v in event.summary_event.resource_changes.items()
                }
            if event.diagnostic_event and event.diagnostic_event.severity == "error" and event.diagnostic_event.urn:
                outcome.error = outcome.error or event.diagnostic_event.message.strip()

        try:
            result = getattr(self._stack, operation)(on_event=on_event, on_output=lambda _: None)
            outcome.output = getattr(result, "stdout", "")
        except automation.CommandError as error:
            outcome.output = str(error)
            outcome.error = outcome.error or str(error)
            outcome.summary = {}  # the recording takes it from the result, which a failed operation has none of
            return outcome
        if operation == "up":
            outcome.outputs = {key: value.value for key, value in result.outputs.items()}
        return outcome

    def state(self) -> list[dict[str, Any]]:
        """The resources in state, stack and providers left out."""
        deployment = self._stack.export_stack().deployment or {}
        return [item for item in deployment.get("resources", []) if item["type"].startswith("gcp:")]


def _event(metadata: Any) -> dict[str, Any]:
    detailed = metadata.detailed_diff or {}
    return {
        "op": str(getattr(metadata.op, "value", metadata.op)),
        "type": metadata.type,
        "diffs": sorted(metadata.diffs) if metadata.diffs else None,
        "detailed": {path: _diff_kind(item) for path, item in detailed.items()},
    }


def _diff_kind(item: Any) -> str:
    kind = item.diff_kind if hasattr(item, "diff_kind") else item["diffKind"]
    return str(getattr(kind, "value", kind)).replace("-", "_")


@contextmanager
def recorded_api() -> Iterator[RecordedApi]:
    """A server that is gone afterwards."""
    api = RecordedApi()
    try:
        yield api
    finally:
        api.close()
