"""The Cloud TPU API over HTTP, v2 and v2alpha1, and what gcloud needs of the Compute API.

Thin: parse, ask ``Nodes``, answer in Google's JSON. Paths and bodies: facts recorded with the official
provider, gcloud 528 and google-cloud-tpu 1.28 (docs/localcloud.md says what was not observed).
"""

from __future__ import annotations

import base64

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from localcloud import documents
from localcloud.errors import ApiError, invalid, not_found, unimplemented
from localcloud.front import Handler, body, failed, guard, http_error, refused
from localcloud.models import GuestAttributesRequest, Node, parse
from localcloud.nodes import Nodes, Parent
from localcloud.operations import describe
from localcloud.store import Store
from localcloud.views import accelerator_view, attributes_view, location_view, runtime_view
from runtime import facts


class TpuApi:
    """The handlers, one a method of the API."""

    def __init__(self, store: Store, nodes: Nodes) -> None:
        self._store = store
        self._nodes = nodes

    async def locations(self, request: Request) -> Response:
        project = request.path_params["project"]
        return JSONResponse({"locations": [location_view(project, zone) for zone in facts.zones()]})

    async def location(self, request: Request) -> Response:
        parent = _parent(request)
        return JSONResponse(location_view(parent.project, parent.zone))

    async def list_nodes(self, request: Request) -> Response:
        parent = _parent(request, wildcard=True)
        start = f"projects/{parent.project}/locations/"
        start += "" if parent.zone == "-" else f"{parent.zone}/"
        return JSONResponse({"nodes": [self._nodes.shown(node) for node in self._store.nodes(start)]})

    async def create_node(self, request: Request) -> Response:
        parent = _parent(request)
        wanted = parse(Node, await body(request), field="node")
        node_id = request.query_params.get("nodeId") or request.query_params.get("node_id") or ""
        operation = self._nodes.create(parent, node_id, wanted, api_version=_version(request))
        return JSONResponse(describe(operation, _version(request)))

    async def get_node(self, request: Request) -> Response:
        return JSONResponse(self._nodes.shown(self._nodes.get(_name(request, "nodes", "node"))))

    async def patch_node(self, request: Request) -> Response:
        wanted = parse(Node, await body(request), field="node")
        mask = request.query_params.get("updateMask") or request.query_params.get("update_mask") or ""
        operation = self._nodes.patch(_name(request, "nodes", "node"), wanted, mask)
        return JSONResponse(describe(operation, _version(request)))

    async def delete_node(self, request: Request) -> Response:
        operation = self._nodes.delete(_name(request, "nodes", "node"))
        return JSONResponse(describe(operation, _version(request)))

    async def node_method(self, request: Request) -> Response:
        name = _name(request, "nodes", "node")
        method = request.path_params["method"]
        if method == "getGuestAttributes":
            return await self._guest_attributes(request, name)
        if method not in ("start", "stop"):
            raise unimplemented(f"nodes.{method}")
        operation = self._nodes.start(name) if method == "start" else self._nodes.stop(name)
        return JSONResponse(describe(operation, _version(request)))

    async def list_operations(self, request: Request) -> Response:
        parent = _parent(request, wildcard=True)
        start = f"projects/{parent.project}/locations/" + ("" if parent.zone == "-" else f"{parent.zone}/")
        shown = [describe(operation, _version(request)) for operation in self._store.operations(start)]
        return JSONResponse({"operations": shown})

    async def get_operation(self, request: Request) -> Response:
        name = _name(request, "operations", "operation")
        operation = self._store.operation(name)
        if operation is None:
            raise not_found(name)
        return JSONResponse(describe(operation, _version(request)))

    async def runtime_versions(self, request: Request) -> Response:
        parent = _parent(request)
        versions = [runtime_view(str(parent), version) for version in facts.runtime_versions_in(parent.zone)]
        return JSONResponse({"runtimeVersions": versions})

    async def runtime_version(self, request: Request) -> Response:
        parent, version = _parent(request), request.path_params["id"]
        if version not in facts.runtime_versions_in(parent.zone):
            raise not_found(f"{parent}/runtimeVersions/{version}")
        return JSONResponse(runtime_view(str(parent), version))

    async def accelerator_types(self, request: Request) -> Response:
        parent = _parent(request)
        types = [accelerator_view(str(parent), name) for name in facts.accelerator_types_in(parent.zone)]
        return JSONResponse({"acceleratorTypes": types})

    async def accelerator_type(self, request: Request) -> Response:
        parent, name = _parent(request), request.path_params["id"]
        if name not in facts.accelerator_types_in(parent.zone):
            raise not_found(f"{parent}/acceleratorTypes/{name}")
        return JSONResponse(accelerator_view(str(parent), name))

    async def compute_project(self, request: Request) -> Response:
        project = request.path_params["project"]
        fingerprint = base64.urlsafe_b64encode(project.encode()).decode()
        return JSONResponse(
            {
                "kind": "compute#project",
                "id": documents.project_number(project),
                "name": project,
                "commonInstanceMetadata": {"kind": "compute#metadata", "fingerprint": fingerprint},
                "defaultServiceAccount": f"{documents.project_number(project)}-compute@developer.gserviceaccount.com",
            }
        )

    async def missing(self, request: Request) -> Response:
        raise unimplemented(f"{request.method} {request.url.path}")

    async def _guest_attributes(self, request: Request, name: str) -> Response:
        asked = parse(GuestAttributesRequest, await body(request), field="getGuestAttributesRequest")
        node = self._nodes.get(name)
        workers = self._store.workers(node.uid)
        chosen = workers
        ids = [item for item in asked.worker_ids if item]
        if ids:
            known = {str(worker.position): worker for worker in workers}
            unknown = [item for item in ids if item not in known]
            if unknown:
                raise invalid(f"Node '{name}' has no worker '{unknown[0]}': it has {len(workers)}, counted from 0")
            chosen = [known[item] for item in ids]
        return JSONResponse({"guestAttributes": [attributes_view(worker, asked.query_path) for worker in chosen]})


def create_app(store: Store, nodes: Nodes, *, token: str, cloud_id: str) -> Starlette:
    """The API as an ASGI application; every path but ``/healthz`` asks for ``token``."""
    api = TpuApi(store, nodes)
    location = "/{version}/projects/{project}/locations/{zone}"

    async def healthz(_: Request) -> Response:
        return JSONResponse({"cloud": cloud_id})

    table: list[tuple[str, str, Handler]] = [
        ("GET", "/{version}/projects/{project}/locations", api.locations),
        ("GET", location, api.location),
        ("GET", f"{location}/nodes", api.list_nodes),
        ("POST", f"{location}/nodes", api.create_node),
        ("POST", f"{location}/nodes/{{node}}:{{method}}", api.node_method),
        ("GET", f"{location}/nodes/{{node}}", api.get_node),
        ("PATCH", f"{location}/nodes/{{node}}", api.patch_node),
        ("DELETE", f"{location}/nodes/{{node}}", api.delete_node),
        ("GET", f"{location}/operations", api.list_operations),
        ("GET", f"{location}/operations/{{operation}}", api.get_operation),
        ("GET", f"{location}/runtimeVersions", api.runtime_versions),
        ("GET", f"{location}/runtimeVersions/{{id}}", api.runtime_version),
        ("GET", f"{location}/acceleratorTypes", api.accelerator_types),
        ("GET", f"{location}/acceleratorTypes/{{id}}", api.accelerator_type),
        ("GET", "/compute/v1/projects/{project}", api.compute_project),
    ]
    guarded = [Route(path, guard(handler, token), methods=[method]) for method, path, handler in table]
    methods = ["GET", "POST", "PATCH", "PUT", "DELETE"]
    routes = [Route("/healthz", healthz), *guarded, Route("/{rest:path}", guard(api.missing, token), methods=methods)]
    return Starlette(
        routes=routes, exception_handlers={ApiError: refused, HTTPException: http_error, Exception: failed}
    )


def _parent(request: Request, *, wildcard: bool = False) -> Parent:
    parent = Parent(request.path_params["project"], request.path_params["zone"])
    if parent.zone not in facts.zones() and not (wildcard and parent.zone == "-"):
        raise documents.unknown_zone(parent.zone)
    return parent


def _name(request: Request, collection: str, parameter: str) -> str:
    return f"{_parent(request)}/{collection}/{request.path_params[parameter]}"


def _version(request: Request) -> str:
    return str(request.path_params["version"])
