from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from commands.plan import make_plan, plan
from stack.errors import BadInput

MODEL = "Qwen/Qwen2.5-7B-Instruct"

PROMISED = """
accelerator_type topology runtime_version parameters chips worker_count chips_per_worker tensor_parallel
data_parallel effective_replicas attention_heads kv_heads fits weights_gib_per_chip kv_tokens hbm_gib_per_chip launch
"""


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def test_the_document_has_every_promised_key() -> None:
    outcome = plan(MODEL, "v6e-16", None, "0.0.2")
    assert outcome.exit_code == 0
    assert not set(PROMISED.split()) - set(outcome.document)
    assert outcome.document["runtime_version"] == "v6e-ubuntu-2404"
    assert [set(worker) for worker in outcome.document["launch"]] == [{"index", "argv", "env"}] * 4
    assert any("tp 4 x dp 4, 1 effective replica" in line for line in outcome.lines)


def test_what_does_not_fit_is_exit_code_1_with_an_error_and_still_a_plan() -> None:
    outcome = plan("Qwen/Qwen2.5-72B-Instruct", "v6e-4", None, "0.0.2")
    assert outcome.exit_code == 1
    assert outcome.errors
    assert outcome.document["fits"] is False
    assert outcome.lines[-1].strip() == "DOES NOT FIT"


@pytest.mark.parametrize(
    ("arguments", "key"),
    [
        ({"model": ""}, "--model"),
        ({"model": "./nowhere"}, "--model"),
        ({"accelerator_type": "v6e-12"}, "--accelerator-type"),
        ({"accelerator_type": "tpu7x-8"}, "--accelerator-type"),
        ({"workers": 3}, "--workers"),
        ({"workers": -1}, "--workers"),
        ({"engine_version": "1.0"}, "--engine-version"),
    ],
)
def test_bad_arguments_are_named_by_their_option(arguments: dict[str, object], key: str) -> None:
    with pytest.raises(BadInput) as caught:
        make_plan(**{"model": MODEL, "accelerator_type": "v6e-16", **arguments})  # type: ignore[arg-type]
    assert caught.value.key == key
    assert caught.value.cure


def test_a_plan_as_a_whole_process_is_quick_and_imports_nothing_slow(root: Path, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    from runtime.models.tiny import SHAPES, config_document

    config.write_text(json.dumps(config_document(SHAPES["qwen2-28h"])))
    program = (
        "import sys; from commands.plan import plan; outcome = plan(sys.argv[1], 'v6e-16', None, '0.0.2'); "
        "slow = {'numpy', 'paramiko', 'pulumi', 'google.cloud.tpu_v2', 'huggingface_hub', 'httpx'} & set(sys.modules); "
        "sys.exit(outcome.exit_code or ','.join(slow) or 0)"
    )
    command = [sys.executable, "-c", program, str(config)]
    took = []
    for _ in range(3):
        before = sum(os.times()[2:4])
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        took.append(sum(os.times()[2:4]) - before)
    # CPU seconds, not wall time: the machine may be busy with real servers.
    assert min(took) < 0.6, took
