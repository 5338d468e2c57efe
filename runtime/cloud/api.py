"""The TPU API's client: Google's own library, over REST, the endpoint and the token taken from the environment.

Over REST because the same library then speaks to any HTTP endpoint, TLS or not (source: google-cloud-tpu 1.28).
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from runtime.cloud.failures import named_failures
from runtime.cloud.slice import LiveSlice, LiveWorker
from stack.errors import BadInput, CloudFailed, NotVerified
from stack.names import STACK_LABEL

if TYPE_CHECKING:
    from google.cloud import tpu_v2

GOOGLE = "https://tpu.googleapis.com"
ENDPOINT_VARIABLE = "GOOGLE_TPU_V2_CUSTOM_ENDPOINT"
TOKEN_VARIABLE = "GOOGLE_OAUTH_ACCESS_TOKEN"  # noqa: S105 (the name of a variable)
CALL_SECONDS = 20.0
KEYS = "ssh-keys"
"""The metadata key that Google's guest agent reads login keys from: lines of ``USER:TYPE BASE64 COMMENT``."""


class TpuApi:
    """The API of one project and zone.

    Args:
        endpoint: scheme and host; a path such as ``/v2alpha1/`` is cut off. Default: the environment's
            GOOGLE_TPU_V2_CUSTOM_ENDPOINT, else Google's.
        credentials: google.auth credentials. Default: GOOGLE_OAUTH_ACCESS_TOKEN, else the application default.

    Raises:
        BadInput: there are no credentials.
    """

    def __init__(self, project: str, zone: str, endpoint: str | None = None, credentials: Any = None) -> None:
        self.project = project
        self.zone = zone
        self.endpoint = _base_of(endpoint or os.environ.get(ENDPOINT_VARIABLE) or GOOGLE)
        with named_failures(self.endpoint, project):
            self._client = _client(self.endpoint, credentials or _credentials())
        self._retry = _patient()

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.zone}"

    def find_slice(self, stack: str) -> LiveSlice:
        """The stack's slice, by its label, with every worker and the host keys it published.

        Raises:
            BadInput: there is no such slice, or more than one.
            NotVerified: it is not READY, or lists no worker.
            CloudFailed: the API failed.
        """
        with named_failures(self.endpoint, self.project):
            listed = self._client.list_nodes(parent=self.parent, retry=self._retry, timeout=CALL_SECONDS)
            nodes = [node for node in listed if node.labels.get(STACK_LABEL) == stack]
        node = _the_one(nodes, stack, f"{self.project}/{self.zone}")
        name = _short(node.name)
        if node.state.name != "READY":
            cure = f"Wait for it, or make it anew: invoke up --stack {stack}"
            raise NotVerified(f"is not READY but {node.state.name}", key="slice", value=name, cure=cure)
        if not node.network_endpoints:
            raise NotVerified("lists no worker (networkEndpoints is empty)", key="slice", value=name, cure="Look at it")
        return self._live(node, self._guest_attributes(node))

    def get_slice(self, name: str) -> LiveSlice:
        """The slice of this full resource name as it is now: what is compared before and after a fan-out.

        Raises:
            BadInput: it is gone.
            CloudFailed: the API failed.
        """
        with named_failures(self.endpoint, self.project):
            node = self._client.get_node(name=name, retry=self._retry, timeout=CALL_SECONDS)
        return self._live(node, self._guest_attributes(node))

    def ensure_ssh_key(
        self,
        slice_: LiveSlice,
        user: str,
        public_key: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> bool:
        """Put the login key on every worker; false if it was there already.

        Merges into the node's own metadata, as gcloud does, and leaves everybody else's keys and entries. It is
        read back, because two callers may patch at once and the last one wins.

        Raises:
            CloudFailed: the API failed, or the key is gone again after each try.
        """
        changed = False
        deadline = clock() + 60
        while True:
            with named_failures(self.endpoint, self.project):
                node = self._client.get_node(name=slice_.name, retry=self._retry, timeout=CALL_SECONDS)
            metadata = dict(node.metadata)
            merged = merge_key(metadata.get(KEYS, ""), user, public_key)
            if merged is None:
                return changed
            if clock() >= deadline:
                why = f"the login key of {user} does not stay in the metadata"
                raise CloudFailed(why, key="slice", value=slice_.node_id, cure="Is somebody else writing it?")
            changed = self._patch_metadata(slice_.name, {**metadata, KEYS: merged}) or changed
            sleep(0.2)

    def _patch_metadata(self, name: str, metadata: Mapping[str, str]) -> bool:
        from google.api_core import exceptions
        from google.cloud import tpu_v2
        from google.protobuf import field_mask_pb2

        with named_failures(self.endpoint, self.project):
            try:
                operation = self._client.update_node(
                    node=tpu_v2.Node(name=name, metadata=metadata),
                    update_mask=field_mask_pb2.FieldMask(paths=["metadata"]),
                    timeout=CALL_SECONDS,
                )
                operation.result(timeout=CALL_SECONDS)  # type: ignore[no-untyped-call]
            except exceptions.Conflict:
                return False  # another change is under way: the caller's loop reads and merges again
        return True

    def _guest_attributes(self, node: tpu_v2.Node) -> list[dict[str, dict[str, str]]]:
        """Per worker, in the order of the endpoints: namespace, key, value. Empty where they are not to be had."""
        from google.api_core import exceptions
        from google.cloud import tpu_v2

        request = tpu_v2.GetGuestAttributesRequest(name=node.name, worker_ids=[""])  # all workers, as gcloud asks
        with named_failures(self.endpoint, self.project):
            try:
                answer = self._client.get_guest_attributes(request, retry=self._retry, timeout=CALL_SECONDS)
            except (exceptions.Forbidden, exceptions.NotFound, exceptions.FailedPrecondition, exceptions.BadRequest):
                return []  # compute.disableGuestAttributesAccess: the transport then says that no host key is known
        found: list[dict[str, dict[str, str]]] = []
        for attributes in answer.guest_attributes:
            values: dict[str, dict[str, str]] = {}
            for item in attributes.query_value.items:
                values.setdefault(item.namespace, {})[item.key] = item.value
            found.append(values)
        return found if len(found) == len(node.network_endpoints) else []

    def _live(self, node: tpu_v2.Node, attributes: list[dict[str, dict[str, str]]]) -> LiveSlice:
        workers = []
        for index, endpoint in enumerate(node.network_endpoints):
            own = attributes[index] if attributes else {}
            keys = tuple(f"{kind} {value}" for kind, value in sorted(own.get("hostkeys", {}).items()))
            workers.append(
                LiveWorker(
                    index=index,
                    internal_ip=endpoint.ip_address,
                    external_ip=endpoint.access_config.external_ip or None,
                    hostname=_hostname(own),
                    host_keys=keys,
                )
            )
        return LiveSlice(
            node_id=_short(node.name),
            name=node.name,
            id=str(node.id),
            state=node.state.name,
            health=node.health.name,
            create_time=_time(node),
            runtime_version=node.runtime_version,
            accelerator_type=node.accelerator_type,
            workers=tuple(workers),
            labels=dict(node.labels),
            project=self.project,
            zone=self.zone,
        )


def merge_key(existing: str, user: str, public_key: str) -> str | None:
    """The ``ssh-keys`` text with this user's key added, or None if it is in it already."""
    kind, blob = public_key.split()[:2]
    for line in existing.splitlines():
        name, _, key = line.partition(":")
        if name.strip() == user and key.split()[:2] == [kind, blob]:
            return None
    kept = existing.strip("\n")
    return f"{kept}\n{user}:{kind} {blob} {user}".lstrip("\n")


def _the_one(nodes: list[tpu_v2.Node], stack: str, where: str) -> tpu_v2.Node:
    if not nodes:
        cure = f"Make it: invoke up --stack {stack}"
        raise BadInput(f"has no slice in {where}", key="stack", value=stack, cure=cure)
    if len(nodes) > 1:
        names = ", ".join(sorted(_short(node.name) for node in nodes))
        cure = f"Delete those that are not the stack's, or their label {STACK_LABEL}"
        raise BadInput(f"has {len(nodes)} slices in {where}: {names}", key="stack", value=stack, cure=cure)
    return nodes[0]


def _hostname(attributes: dict[str, dict[str, str]]) -> str | None:
    for values in attributes.values():
        if values.get("hostname"):
            return values["hostname"]
    return None


def _time(node: tpu_v2.Node) -> datetime | None:
    stamp: Any = node.create_time  # proto-plus hands out a datetime; its annotations name the message
    return stamp if isinstance(stamp, datetime) else None


def _short(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _base_of(endpoint: str) -> str:
    match = re.match(r"^(https?://[^/]+)", endpoint)
    if not match:
        raise BadInput("is no http address", key=ENDPOINT_VARIABLE, value=endpoint, cure="Write http://HOST:PORT/v2/")
    return match.group(1)


def _credentials() -> Any:
    """A bearer token from the environment, else the application default credentials."""
    token = os.environ.get(TOKEN_VARIABLE)
    if token:
        from google.oauth2.credentials import Credentials

        return Credentials(token=token)  # type: ignore[no-untyped-call]
    import google.auth

    credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
    return credentials


def _client(endpoint: str, credentials: Any) -> tpu_v2.TpuClient:
    from google.cloud import tpu_v2
    from google.cloud.tpu_v2.services.tpu.transports.rest import TpuRestTransport

    return tpu_v2.TpuClient(transport=TpuRestTransport(host=endpoint, credentials=credentials))


def _patient() -> Any:
    """Read again what failed by itself; an address that nobody listens on fails at once."""
    from google.api_core import exceptions, retry
    from requests import exceptions as http

    transient = retry.if_exception_type(
        exceptions.TooManyRequests, exceptions.ServerError, http.ReadTimeout, http.ChunkedEncodingError
    )
    return retry.Retry(predicate=transient, initial=0.3, maximum=4, multiplier=2, timeout=30)
