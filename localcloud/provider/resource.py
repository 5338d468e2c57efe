"""The life of a V2Vm: create, read, update, delete, in the calls of the official provider."""

from __future__ import annotations

import re
from dataclasses import dataclass

from localcloud.provider.client import ApiError, Cancelled, Client
from localcloud.provider.differences import update_mask
from localcloud.provider.node import create_body, state_of, update_body
from localcloud.provider.settings import Settings
from localcloud.provider.values import Properties

DEFAULT_SECONDS = 20 * 60.0

IMPORT_FORMS = (
    re.compile(r"^projects/(?P<project>[^/]+)/locations/(?P<zone>[^/]+)/nodes/(?P<name>[^/]+)$"),
    re.compile(r"^(?P<project>[^/]+)/(?P<zone>[^/]+)/(?P<name>[^/]+)$"),
    re.compile(r"^(?P<zone>[^/]+)/(?P<name>[^/]+)$"),
    re.compile(r"^(?P<name>[^/]+)$"),
)
"""The ids that the official provider imports by, the longest first."""


class ResourceError(Exception):
    """The operation failed; the text is the official provider's."""


@dataclass(frozen=True)
class NodePath:
    """Where a node lives; its text is the resource's id and the API's name of the node."""

    project: str
    zone: str
    name: str

    def __str__(self) -> str:
        return f"{self.parent}/{self.name}"

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.zone}/nodes"


def parse_id(text: str, settings: Settings) -> NodePath:
    """The node that ``text`` names; what it leaves out comes from the provider.

    Raises:
        ResourceError: it fits no form, or project or zone are nowhere to be found.
    """
    for form in IMPORT_FORMS:
        if match := form.match(text):
            found = match.groupdict()
            return node_path({"project": settings.project, "zone": settings.zone, **found})
    raise ResourceError(f'Import id "{text}" doesn\'t match any of the accepted formats')


def node_path(state: Properties) -> NodePath:
    """Where the node of ``state`` lives.

    Raises:
        ResourceError: there is no project or no zone.
    """
    for key in ("project", "zone"):
        if not state.get(key):
            raise ResourceError(
                f"Error creating Vm: gcp:{key}: required field is not set. pulumi config set gcp:{key} ..."
            )
    return NodePath(str(state["project"]), str(state["zone"]), str(state["name"]))


class VmResource:
    """V2Vm against one endpoint."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def create(self, planned: Properties, seconds: float) -> tuple[str, Properties]:
        """Create the node, wait for it, and read it back: its id and its state."""
        path = node_path(planned)
        try:
            operation = self._client.call(
                "POST", path.parent, query={"nodeId": path.name}, body=create_body(planned), seconds=seconds
            )
        except ApiError as error:
            raise ResourceError(f"Error creating Vm: {error}") from error
        try:
            made = self._client.wait(operation, "Creating Vm", seconds)
        except ApiError as error:
            raise ResourceError(f"Error waiting to create Vm: {error}") from error
        except Cancelled:
            # The request is out: what comes of it belongs into the state, for a later refresh to follow up.
            made = {}
        try:
            state = self.read(path, planned)
        except ResourceError:
            if not made.get("name"):
                raise
            # The node is there; losing it from the state over a failed look at it would leave it running.
            state = state_of(made, planned, project=path.project, zone=path.zone)
        if state is None:
            raise ResourceError(f"Error creating Vm: {path} is gone right after its creation")
        return str(path), state

    def read(self, path: NodePath, planned: Properties) -> Properties | None:
        """The state of the node, or None if there is none."""
        try:
            node = self._client.call("GET", str(path))
        except ApiError as error:
            if error.status == 404:
                return None
            raise ResourceError(f'Error when reading or editing TpuV2Vm "{path}": {error}') from error
        if "name" not in node:
            raise ResourceError(f'Error when reading or editing TpuV2Vm "{path}": the answer is no node: {node}')
        return state_of(node, planned, project=path.project, zone=path.zone)

    def update(self, old: Properties, planned: Properties, seconds: float) -> Properties:
        """Change in place what differs, and read the node back."""
        path = node_path(planned)
        mask = update_mask(old, planned)
        if mask:
            try:
                operation = self._client.call(
                    "PATCH",
                    str(path),
                    query={"updateMask": ",".join(mask)},
                    body=update_body(planned),
                    seconds=seconds,
                )
                self._client.wait(operation, "Updating Vm", seconds)
            except ApiError as error:
                raise ResourceError(f'Error updating Vm "{path}": {error}') from error
        state = self.read(path, planned)
        if state is None:
            raise ResourceError(f'Error updating Vm "{path}": it is gone. Run pulumi refresh')
        return state

    def delete(self, state: Properties, seconds: float) -> None:
        """Delete the node as its deletion policy wants; one that is gone already is fine."""
        path = node_path(state)
        policy = state.get("deletionPolicy")
        if policy == "ABANDON":
            return
        if policy == "PREVENT":
            raise ResourceError(
                f'cannot destroy TpuV2Vm "{path}" without setting deletion_policy="DELETE" and running `pulumi up`'
            )
        try:
            operation = self._client.call("DELETE", str(path), seconds=seconds)
            self._client.wait(operation, "Deleting Vm", seconds)
        except ApiError as error:
            if error.status != 404:
                raise ResourceError(f"Error when reading or editing Vm: {error}") from error
