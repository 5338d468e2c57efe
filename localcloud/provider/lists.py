"""The two data sources: what a zone offers."""

from __future__ import annotations

from dataclasses import dataclass

from localcloud.provider.client import ApiError, Client
from localcloud.provider.resource import ResourceError
from localcloud.provider.settings import Settings
from localcloud.provider.values import Properties


@dataclass(frozen=True)
class ListSource:
    """One data source: its collection in the API, the member that names an item, and its output."""

    collection: str
    member: str
    output: str
    noun: str


SOURCES = {
    "gcp:tpu/getV2RuntimeVersions:getV2RuntimeVersions": ListSource(
        "runtimeVersions", "version", "versions", "runtime versions"
    ),
    "gcp:tpu/getV2AcceleratorTypes:getV2AcceleratorTypes": ListSource(
        "acceleratorTypes", "type", "types", "accelerator types"
    ),
}


def read_list(source: ListSource, arguments: Properties, client: Client, settings: Settings) -> Properties:
    """What the zone offers, sorted; project and zone come from the provider where the program gives none.

    Raises:
        ResourceError: no project or zone, or the API refused.
    """
    project, zone = arguments.get("project") or settings.project, arguments.get("zone") or settings.zone
    for key, value in (("project", project), ("zone", zone)):
        if not value:
            raise ResourceError(f"{key}: required field is not set. pulumi config set gcp:{key} ...")
    try:
        answer = client.call("GET", f"projects/{project}/locations/{zone}/{source.collection}")
    except ApiError as error:
        raise ResourceError(f"error listing TPU v2 {source.noun}: {error}") from error
    items = sorted(str(item[source.member]) for item in answer.get(source.collection, []))
    return {"id": f"projects/{project}/zones/{zone}", "project": project, "zone": zone, source.output: items}
