"""The ``ResourceProvider`` service of the gcp stand-in: gRPC in, plain values through, gRPC out."""
# ruff: noqa: ARG002 - gRPC fixes the signatures

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable
from functools import wraps
from typing import Any, NoReturn

import grpc
from google.protobuf.empty_pb2 import Empty
from pulumi.runtime.proto import plugin_pb2, provider_pb2, provider_pb2_grpc

from localcloud.provider import VERSION
from localcloud.provider.checking import AutomaticName, check
from localcloud.provider.client import Cancelled, Client
from localcloud.provider.differences import Change, changes, delete_before_replace
from localcloud.provider.lists import SOURCES, read_list
from localcloud.provider.node import inputs_of
from localcloud.provider.planning import Surroundings, plan
from localcloud.provider.resource import DEFAULT_SECONDS, ResourceError, VmResource, parse_id
from localcloud.provider.schema import schema
from localcloud.provider.settings import Settings, SettingsError, read_settings, refuse_unless_loopback
from localcloud.provider.values import UNKNOWN, decode, encode

V2VM = "gcp:tpu/v2Vm:V2Vm"

KINDS = {
    ("add", False): provider_pb2.PropertyDiff.ADD,
    ("add", True): provider_pb2.PropertyDiff.ADD_REPLACE,
    ("delete", False): provider_pb2.PropertyDiff.DELETE,
    ("delete", True): provider_pb2.PropertyDiff.DELETE_REPLACE,
    ("update", False): provider_pb2.PropertyDiff.UPDATE,
    ("update", True): provider_pb2.PropertyDiff.UPDATE_REPLACE,
}


def _answers_with_text[Method: Callable[..., Any]](method: Method) -> Method:
    """Turn our errors into the text that the engine shows, without a traceback."""

    @wraps(method)
    def guarded(self: Any, request: Any, context: Any) -> Any:
        try:
            return method(self, request, context)
        except (ResourceError, SettingsError, Cancelled) as error:
            context.abort(grpc.StatusCode.UNKNOWN, str(error))

    return guarded  # type: ignore[return-value]


class GcpStandIn(provider_pb2_grpc.ResourceProviderServicer):
    """One provider process of the engine."""

    def __init__(self) -> None:
        self._cancelled = threading.Event()
        self._settings: Settings | None = None

    def end(self) -> None:
        """End every wait."""
        self._cancelled.set()

    def Handshake(self, request: Any, context: Any) -> provider_pb2.ProviderHandshakeResponse:
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, request: Empty, context: Any) -> plugin_pb2.PluginInfo:
        return plugin_pb2.PluginInfo(version=VERSION)

    def GetSchema(self, request: Any, context: Any) -> provider_pb2.GetSchemaResponse:
        return provider_pb2.GetSchemaResponse(schema=json.dumps(schema()))

    def Cancel(self, request: Empty, context: Any) -> Empty:
        self.end()
        return Empty()

    @_answers_with_text
    def CheckConfig(self, request: provider_pb2.CheckRequest, context: Any) -> provider_pb2.CheckResponse:
        config, _ = decode(request.news)
        if config.get("tpuV2CustomEndpoint") is UNKNOWN:
            return provider_pb2.CheckResponse(inputs=request.news)
        try:
            read_settings({key: value for key, value in config.items() if value is not UNKNOWN}, os.environ)
        except SettingsError as error:
            failure = provider_pb2.CheckFailure(reason=str(error))
            return provider_pb2.CheckResponse(inputs=request.news, failures=[failure])
        return provider_pb2.CheckResponse(inputs=request.news)

    def DiffConfig(self, request: provider_pb2.DiffRequest, context: Any) -> provider_pb2.DiffResponse:
        """Another configuration updates the provider, and replaces no resource by itself."""
        olds, news = decode(request.olds)[0], decode(request.news)[0]
        changed = sorted(key for key in {*olds, *news} if key != "version" and olds.get(key) != news.get(key))
        some = provider_pb2.DiffResponse.DIFF_SOME if changed else provider_pb2.DiffResponse.DIFF_NONE
        return provider_pb2.DiffResponse(changes=some, diffs=changed)

    @_answers_with_text
    def Configure(self, request: provider_pb2.ConfigureRequest, context: Any) -> provider_pb2.ConfigureResponse:
        config, _ = decode(request.args)
        self._settings = read_settings(config, os.environ)
        return provider_pb2.ConfigureResponse(
            acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
        )

    @_answers_with_text
    def Invoke(self, request: provider_pb2.InvokeRequest, context: Any) -> provider_pb2.InvokeResponse:
        source = SOURCES.get(request.tok)
        if source is None:
            _refuse(request.tok)
        arguments, _ = decode(request.args)
        answer = read_list(source, arguments, self._client(), self._configured())
        response = provider_pb2.InvokeResponse()
        getattr(response, "return").CopyFrom(encode(answer))
        return response

    @_answers_with_text
    def Check(self, request: provider_pb2.CheckRequest, context: Any) -> provider_pb2.CheckResponse:
        logical = _logical_name(request.urn)
        news, secret = decode(request.news)
        olds, _ = decode(request.olds)
        disabled = request.autonaming.mode == provider_pb2.CheckRequest.AutonamingOptions.DISABLE
        naming = AutomaticName(
            logical=logical,
            seed=request.randomSeed,
            proposed=request.autonaming.proposed_name or None,
            disabled=disabled,
        )
        inputs, faults = check(news, olds, naming)
        failures = [provider_pb2.CheckFailure(property=fault.path, reason=fault.why) for fault in faults]
        return provider_pb2.CheckResponse(inputs=encode(inputs, secret), failures=failures)

    @_answers_with_text
    def Diff(self, request: provider_pb2.DiffRequest, context: Any) -> provider_pb2.DiffResponse:
        _logical_name(request.urn)
        old, _ = decode(request.olds)
        inputs, _ = decode(request.news)
        planned = plan(inputs, old, self._surroundings(), request.ignoreChanges)
        found = changes(old, planned)
        return provider_pb2.DiffResponse(
            changes=provider_pb2.DiffResponse.DIFF_SOME if found else provider_pb2.DiffResponse.DIFF_NONE,
            diffs=sorted({_top(change) for change in found}),
            replaces=sorted({_top(change) for change in found if change.replaces}),
            detailedDiff={
                change.path: provider_pb2.PropertyDiff(kind=KINDS[change.kind, change.replaces]) for change in found
            },
            hasDetailedDiff=True,
            deleteBeforeReplace=any(change.replaces for change in found)
            and delete_before_replace(old, planned, inputs),
        )

    @_answers_with_text
    def Create(self, request: provider_pb2.CreateRequest, context: Any) -> provider_pb2.CreateResponse:
        _logical_name(request.urn)
        inputs, secret = decode(request.properties)
        planned = plan(inputs, None, self._surroundings())
        if request.preview:
            return provider_pb2.CreateResponse(properties=encode(planned, secret))
        identity, state = self._vm().create(planned, request.timeout or DEFAULT_SECONDS)
        return provider_pb2.CreateResponse(id=identity, properties=encode(state, secret))

    @_answers_with_text
    def Read(self, request: provider_pb2.ReadRequest, context: Any) -> provider_pb2.ReadResponse:
        _logical_name(request.urn)
        old, secret = decode(request.properties)
        old_inputs, secret_inputs = decode(request.inputs)
        path = parse_id(request.id, self._configured())
        state = self._vm().read(path, old or old_inputs)
        if state is None:
            return provider_pb2.ReadResponse()
        inputs = inputs_of(state, old_inputs)
        return provider_pb2.ReadResponse(
            id=str(path), properties=encode(state, secret | secret_inputs), inputs=encode(inputs, secret_inputs)
        )

    @_answers_with_text
    def Update(self, request: provider_pb2.UpdateRequest, context: Any) -> provider_pb2.UpdateResponse:
        _logical_name(request.urn)
        old, _ = decode(request.olds)
        inputs, secret = decode(request.news)
        planned = plan(inputs, old, self._surroundings(), request.ignoreChanges)
        if request.preview:
            return provider_pb2.UpdateResponse(properties=encode(planned, secret))
        state = self._vm().update(old, planned, request.timeout or DEFAULT_SECONDS)
        return provider_pb2.UpdateResponse(properties=encode(state, secret))

    @_answers_with_text
    def Delete(self, request: provider_pb2.DeleteRequest, context: Any) -> Empty:
        _logical_name(request.urn)
        state, _ = decode(request.properties)
        self._vm().delete(state, request.timeout or DEFAULT_SECONDS)
        return Empty()

    def _configured(self) -> Settings:
        if self._settings is None:
            raise SettingsError("the gcp stand-in is not configured: the endpoint is not known yet")
        # Checked once more where calls are made: nothing may ever reach a real cloud through here.
        refuse_unless_loopback(self._settings.endpoint)
        return self._settings

    def _client(self) -> Client:
        return Client(self._configured(), self._cancelled)

    def _vm(self) -> VmResource:
        return VmResource(self._client())

    def _surroundings(self) -> Surroundings:
        settings = self._configured()
        return Surroundings(settings.project, settings.zone, settings.labels, settings.attribution)


def _logical_name(urn: str) -> str:
    """The name of a V2Vm in its program; every other type is refused."""
    parts = urn.split("::")
    kind = parts[2].rpartition("$")[2]
    if kind != V2VM:
        _refuse(kind)
    return "::".join(parts[3:])


def _refuse(token: str) -> NoReturn:
    raise ResourceError(
        f"{token}: the gcp stand-in of the embedded cloud serves {V2VM} and its data sources only. "
        f"Keep it out of local stacks, or use the official plugin: pulumi plugin install resource gcp {VERSION}"
    )


def _top(change: Change) -> str:
    return change.path.partition(".")[0].partition("[")[0]
