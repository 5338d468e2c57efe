"""The gcp stand-in: a Pulumi resource provider that drives the embedded cloud as the official gcp plugin would.

The official plugin cannot be had from a package registry, and a local stack must work without it. For TPU
types this one sends the same calls, draws the same diffs and gives the same outputs and errors; a recording
of the official provider 9.35.0 holds it to that (tests/provider). It serves loopback endpoints only.
Why, and where it differs on purpose: docs/decisions/0003-gcp-stand-in.md.

Deliberately not here: any other type of the gcp package, credentials, regions, batching, user projects.
"""

VERSION = "9.35.0"
"""The version of the official plugin that this stands in for: the one that the locked pulumi-gcp asks for."""
