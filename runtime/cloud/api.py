"""The TPU API's client: Google's own library, over REST, the endpoint and the token taken from the environment.

Over REST because the same library then speaks to any HTTP endpoint, TLS or not (source: google-cloud-tpu 1.28).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from runtime.cloud.client import base_of, default_credentials, open_client, patient_retry
from runtime.cloud.failures import named_failures
from runtime.cloud.reading import Attributes, live_slice, merge_key, short_name
from runtime.cloud.slice import LiveSlice
from stack.errors import BadInput, CloudFailed, NotVerified
from stack.names import STACK_LABEL

if TYPE_CHECKING:
    from google.cloud import tpu_v2

CALL_SECONDS = 20.0
KEYS = "ssh-keys"
"""The metadata key that Google's guest agent reads login keys from: lines of ``USER:TYPE BASE64 COMMENT``."""

YOUNG_SECONDS = 180
"""After its creation, while a slice may not have published everything yet."""

GOING = ("DELETING", "PREEMPTED", "TERMINATED")


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
        self.endpoint = base_of(endpoint)
        with named_failures(self.endpoint, project):
            self._client = open_client(self.endpoint, credentials or default_credentials())
        self._retry = patient_retry()

    @property
    def parent(self) -> str:
        return f"projects/{self.project}/locations/{self.zone}"

    def find_slice(
        self,
        stack: str,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
    ) -> LiveSlice:
        """The stack's slice, by its label, with every worker and the host keys it published.

        A worker's guest agent publishes them some time after the node is READY, so those of a young slice are
        waited for. A slice that never publishes any is returned as it is: the transport then refuses.

        Raises:
            BadInput: there is no such slice, or more than one.
            NotVerified: it is not READY, or lists no worker.
            CloudFailed: the API failed.
        """
        with named_failures(self.endpoint, self.project):
            listed = self._client.list_nodes(parent=self.parent, retry=self._retry, timeout=CALL_SECONDS)
            nodes = [node for node in listed if node.labels.get(STACK_LABEL) == stack]
        node = _the_one(nodes, stack, f"{self.project}/{self.zone}")
        name = short_name(node.name)
        if node.state.name != "READY":
            cure = f"Wait for it, or make it anew: invoke up --stack {stack}"
            raise NotVerified(f"is not READY but {node.state.name}", key="slice", value=name, cure=cure)
        if not node.network_endpoints:
            raise NotVerified("lists no worker (networkEndpoints is empty)", key="slice", value=name, cure="Look at it")
        found = live_slice(node, self._guest_attributes(node), self.project, self.zone)
        for _ in range(YOUNG_SECONDS // 2):  # counted, too: this machine's clock may be wrong
            young = found.create_time is not None and (now() - found.create_time).total_seconds() < YOUNG_SECONDS
            if not young or all(worker.host_keys for worker in found.workers):
                break
            sleep(2.0)
            found = live_slice(node, self._guest_attributes(node), self.project, self.zone)
        return found

    def get_slice(self, name: str) -> LiveSlice:
        """The slice of this full resource name as it is now: what is compared before and after a fan-out.

        Raises:
            BadInput: it is gone.
            CloudFailed: the API failed.
        """
        with named_failures(self.endpoint, self.project):
            node = self._client.get_node(name=name, retry=self._retry, timeout=CALL_SECONDS)
        return live_slice(node, self._guest_attributes(node), self.project, self.zone)

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

    def _guest_attributes(self, node: tpu_v2.Node) -> list[Attributes]:
        """Per worker, in the order of the endpoints: namespace, key, value. Empty where they are not to be had."""
        from google.api_core import exceptions
        from google.cloud import tpu_v2

        request = tpu_v2.GetGuestAttributesRequest(name=node.name, worker_ids=[""])  # all workers, as gcloud asks
        with named_failures(self.endpoint, self.project):
            try:
                answer = self._client.get_guest_attributes(request, retry=self._retry, timeout=CALL_SECONDS)
            except (exceptions.Forbidden, exceptions.NotFound, exceptions.FailedPrecondition, exceptions.BadRequest):
                return []  # compute.disableGuestAttributesAccess: the transport then says that no host key is known
        found: list[Attributes] = []
        for attributes in answer.guest_attributes:
            values: Attributes = {}
            for item in attributes.query_value.items:
                values.setdefault(item.namespace, {})[item.key] = item.value
            found.append(values)
        return found if len(found) == len(node.network_endpoints) else []


def _the_one(found: list[tpu_v2.Node], stack: str, where: str) -> tpu_v2.Node:
    # A node that is going, or was preempted, stays listed for a while beside the one that took its place.
    nodes = [node for node in found if node.state.name not in GOING] or found
    if not nodes:
        cure = f"Make it: invoke up --stack {stack}"
        raise BadInput(f"has no slice in {where}", key="stack", value=stack, cure=cure)
    if len(nodes) > 1:
        names = ", ".join(sorted(short_name(node.name) for node in nodes))
        cure = f"Delete those that are not the stack's, or their label {STACK_LABEL}"
        raise BadInput(f"has {len(nodes)} slices in {where}: {names}", key="stack", value=stack, cure=cure)
    return nodes[0]
