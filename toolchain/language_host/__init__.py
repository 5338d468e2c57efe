"""The Python language host: what lets the pinned Pulumi CLI run Python programs, providers and policy packs.

Pulumi's own language host is a Go module that no registry serves, so a CLI built from its module comes
without one. This is the ``LanguageRuntime`` service over the stubs of the Python SDK. A machine with
Pulumi installed has the official one and never starts this. Why: docs/decisions/0004-language-host.md.

Deliberately not here: code generation, ``pulumi package``, debuggers, and the poetry and uv toolchains.
"""
