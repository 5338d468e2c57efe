"""``python -m localcloud.provider [ENGINE_ADDRESS]``: prints its port, serves until the engine is done."""

from __future__ import annotations

from toolchain.plugin_process import serve, use_bare_stubs


def main() -> None:
    use_bare_stubs()
    from pulumi.runtime.proto.provider_pb2_grpc import add_ResourceProviderServicer_to_server

    from localcloud.provider.servicer import GcpStandIn

    provider = GcpStandIn()
    serve(lambda server: add_ResourceProviderServicer_to_server(provider, server), at_end=provider.end)


if __name__ == "__main__":
    main()
