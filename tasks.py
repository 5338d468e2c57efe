"""The commands of tpu-stack. Thin on purpose: parse, call, print, exit.

    invoke --list            every command
    invoke --help deploy     one command, with its options

Exit codes: 0 done (and verified, where it verifies); 1 failed or not verified; 2 bad usage, input or config:
nothing was touched; 3 the cloud or the transport failed: worth another try. ``--json`` prints one document.
"""

from __future__ import annotations

from invoke.collection import Collection
from invoke.context import Context
from invoke.tasks import task

from commands import cloud as cloud_tasks
from commands import parse_errors
from commands.console import run_command

parse_errors.install()

STACK = "the stack, that is Pulumi.<stack>.yaml"
JSON = "one JSON document on stdout, people's text on stderr"
WORKER = "one worker's index (all without it)"
ATTEMPT = "the attempt's id, to say a launch again; made new without it"
ACCEPT = "trust a host key that the cloud does not publish, on first sight"


@task(help={"stack": STACK, "json": JSON})
def up(_: Context, stack: str = "local", json: bool = False) -> None:
    """Create or update the stack's slice. Safe to run twice."""
    from commands import infrastructure

    run_command(lambda console: infrastructure.up(console, stack), as_json=json)


@task(help={"stack": STACK, "json": JSON})
def down(_: Context, stack: str = "local", json: bool = False) -> None:
    """Delete everything the stack made."""
    from commands import infrastructure

    run_command(lambda console: infrastructure.down(console, stack), as_json=json)


@task(help={"stack": STACK, "json": JSON})
def preview(_: Context, stack: str = "local", json: bool = False) -> None:
    """Say what `up` would change, and change nothing."""
    from commands import infrastructure

    run_command(lambda console: infrastructure.preview(console, stack), as_json=json)


@task(help={"stack": STACK, "json": JSON})
def refresh(_: Context, stack: str = "local", json: bool = False) -> None:
    """Read what the cloud really has into the stack's state."""
    from commands import infrastructure

    run_command(lambda console: infrastructure.refresh(console, stack), as_json=json)


@task(
    help={
        "model": "a Hub id, a folder, a config.json or tiny:NAME",
        "accelerator-type": "such as v6e-16",
        "workers": "how many workers the slice has, where the type leaves it open",
        "engine-version": "0.0.2 or head",
        "json": JSON,
    }
)
def plan(
    _: Context,
    model: str,
    accelerator_type: str,
    workers: int = 0,
    engine_version: str = "0.0.2",
    json: bool = False,
) -> None:
    """What would be launched where, and whether it fits. Touches nothing.

    Example: invoke plan --model Qwen/Qwen2.5-7B-Instruct --accelerator-type v6e-16
    """
    from commands import plan as plan_command

    run_command(
        lambda _console: plan_command.plan(model, accelerator_type, workers or None, engine_version), as_json=json
    )


@task(
    help={
        "stack": STACK,
        "model": "serve this model instead of the stack's: a Hub id, a folder or tiny:NAME",
        "attempt": ATTEMPT,
        "accept-host-key": ACCEPT,
        "json": JSON,
    }
)
def deploy(
    _: Context,
    stack: str = "local",
    model: str = "",
    attempt: str = "",
    accept_host_key: bool = False,
    json: bool = False,
) -> None:
    """Serve a model on every worker, and prove that it answers."""
    from commands import serve

    options = serve.DeployOptions(stack, model or None, attempt or None, accept_host_key)
    run_command(lambda console: serve.deploy(console, options), as_json=json)


@task(help={"stack": STACK, "attempt": ATTEMPT, "accept-host-key": ACCEPT, "json": JSON})
def deploy_qwen(
    _: Context, stack: str = "local", attempt: str = "", accept_host_key: bool = False, json: bool = False
) -> None:
    """Serve the stack's Qwen on every worker, and prove that it answers."""
    from commands import serve

    options = serve.DeployOptions(stack, None, attempt or None, accept_host_key)
    run_command(lambda console: serve.deploy(console, options), as_json=json)


@task(help={"stack": STACK, "json": JSON})
def status(_: Context, stack: str = "local", json: bool = False) -> None:
    """What runs on the slice, worker by worker."""
    from commands import watch

    run_command(lambda console: watch.status(console, stack), as_json=json)


@task(
    help={
        "stack": STACK,
        "worker": WORKER,
        "lines": "how many lines of each log's end",
        "follow": "go on until interrupted",
        "json": JSON,
    },
    auto_shortflags=True,
)
def logs(
    _: Context, stack: str = "local", worker: str = "", lines: int = 20, follow: bool = False, json: bool = False
) -> None:
    """The end of the job's log on every worker."""
    from commands import watch

    run_command(lambda console: watch.logs(console, stack, worker, lines, follow), as_json=json)


@task(help={"stack": STACK, "json": JSON})
def verify(_: Context, stack: str = "local", json: bool = False) -> None:
    """Check again everything that makes a served model verified."""
    from commands import serve

    run_command(lambda console: serve.verify(console, stack), as_json=json)


@task(help={"stack": STACK, "json": JSON})
def stop(_: Context, stack: str = "local", json: bool = False) -> None:
    """Stop the job that runs on the slice; the slice stays."""
    from commands import serve

    run_command(lambda console: serve.stop(console, stack), as_json=json)


@task(help={"stack": STACK, "worker": "the worker's index", "accept-host-key": ACCEPT})
def ssh(_: Context, stack: str = "local", worker: int = 0, accept_host_key: bool = False) -> None:
    """A shell on one worker, its host key pinned."""
    from commands import watch

    run_command(lambda console: watch.ssh(console, stack, worker, accept_host_key), as_json=False)


@task
def demo(_: Context) -> None:
    """The main job on this machine: a cloud, a slice, a served and verified model."""
    from commands import demo as demo_command

    run_command(demo_command.demo, as_json=False)


@task(name="test", help={"all": "the long ones too"})
def run_tests(_: Context, all: bool = False) -> None:
    """Run the tests."""
    from commands import house

    run_command(lambda console: house.test(console, everything=all), as_json=False)


@task
def check(_: Context) -> None:
    """Format, lint, types and shell scripts."""
    from commands import house

    run_command(house.check, as_json=False)


namespace = Collection(
    up, down, preview, refresh, plan, deploy, deploy_qwen, status, logs, verify, stop, ssh, demo, run_tests, check
)
namespace.add_collection(cloud_tasks.collection(), name="cloud")
