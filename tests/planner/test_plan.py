from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from runtime import facts
from runtime.engines import sglang_jax
from runtime.models.config import ModelConfig
from runtime.models.resolve import describe
from runtime.planner import LaunchPlan, bind, plan_server, slice_shape
from stack.config import ServeConfig
from stack.errors import BadInput, BadInputs

TINY = describe("tiny:qwen2-28h")


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def serve(**values: Any) -> ServeConfig:
    return ServeConfig.model_validate({"model": "tiny:qwen2-28h"} | values)


def plan(
    accelerator_type: str = "v6e-16", model: ModelConfig = TINY, workers: int | None = None, **values: Any
) -> LaunchPlan:
    return plan_server(slice_shape(accelerator_type, workers=workers), model, serve(**values))


def value_of(argv: tuple[str, ...], flag: str) -> str:
    return argv[argv.index(flag) + 1]


def test_28_heads_on_a_v6e_16_are_tp_4_dp_4() -> None:
    result = plan()
    assert (result.tensor_parallel, result.data_parallel, result.effective_replicas) == (4, 4, 1)
    assert (result.process_count, result.device_count, result.local_device_count) == (4, 16, 4)
    assert result.fits
    assert any("repeats the same work" in note for note in result.notes)


def test_0_0_2_is_given_attention_s_tp_and_never_a_dp_size() -> None:
    for worker in plan().launch:
        assert value_of(worker.argv, "--tp-size") == "4"
        assert "--dp-size" not in worker.argv
        assert "--data-parallel-size" not in worker.argv
        assert value_of(worker.argv, "--nnodes") == "4"
        assert value_of(worker.argv, "--node-rank") == str(worker.index)
        assert value_of(worker.argv, "--jax-proc-id") == str(worker.index)
        assert value_of(worker.argv, "--dist-init-addr") == "{worker0}:5000"


def test_head_is_given_the_devices_and_the_replicas_and_gets_four() -> None:
    result = plan(version="head")
    assert (result.tensor_parallel, result.data_parallel, result.effective_replicas) == (4, 4, 4)
    for worker in result.launch:
        assert value_of(worker.argv, "--tp-size") == "16"
        assert value_of(worker.argv, "--dp-size") == "4"
        assert "--jax-proc-id" not in worker.argv


def test_the_real_model_on_the_real_slice_fits() -> None:
    config = serve(model="Qwen/Qwen2.5-7B-Instruct", flags={"dtype": "bfloat16", "mem-fraction-static": 0.8})
    result = plan_server(slice_shape("v6e-16"), describe("Qwen/Qwen2.5-7B-Instruct"), config)
    assert result.parameters == 7_615_616_512
    # Embeddings and output head (2 x 152064 x 3584) are whole on every chip in 0.0.2, the rest is split in 4.
    assert result.weights_gib_per_chip == pytest.approx(5.07, abs=0.01)
    assert result.kv_tokens > 1_000_000
    assert not result.model_is_folder
    assert "HF_HUB_OFFLINE" not in result.launch[0].env


def test_a_model_too_large_for_the_slice_does_not_fit() -> None:
    model = describe("Qwen/Qwen2.5-72B-Instruct")
    result = plan_server(slice_shape("v6e-4"), model, serve(model="Qwen/Qwen2.5-72B-Instruct"))
    assert not result.fits
    assert any("does not fit" in note for note in result.notes)


def test_kv_heads_are_repeated_when_there_are_fewer_than_tp() -> None:
    model = replace(TINY, attention_heads=32, kv_heads=8)
    result = plan(model=model)
    assert (result.tensor_parallel, result.data_parallel) == (16, 1)


def test_kv_heads_that_do_not_agree_lower_tp() -> None:
    assert plan("v6e-4", replace(TINY, attention_heads=12, kv_heads=3)).tensor_parallel == 1
    assert plan("v6e-4", replace(TINY, attention_heads=12, kv_heads=6)).tensor_parallel == 2


def test_heads_that_no_tp_divides_are_refused_with_both_numbers_and_a_cure() -> None:
    with pytest.raises(BadInput) as caught:
        plan(model=replace(TINY, attention_heads=7, kv_heads=7))
    assert "7 attention heads are not divisible by 4" in str(caught.value)
    assert "at most 1 worker" in caught.value.cure


def test_0_0_2_refuses_more_workers_than_tp() -> None:
    with pytest.raises(BadInput, match="at most 4 workers"):
        plan("v6e-32")
    assert plan("v6e-32", version="head").data_parallel == 8


def test_a_head_dim_that_the_kernel_refuses_is_refused() -> None:
    with pytest.raises(BadInput, match="multiple of 128") as caught:
        plan(model=replace(TINY, head_dim=64))
    assert caught.value.value == 64


def test_both_layouts_of_a_v6e_8_are_planned_and_the_assumption_is_said() -> None:
    assumed, listed = plan("v6e-8"), plan("v6e-8", workers=2)
    assert (assumed.worker_count, listed.worker_count) == (1, 2)
    assert any("the API lists" in note for note in assumed.notes)
    assert not any("the API lists" in note for note in listed.notes)
    assert "--nnodes" not in assumed.launch[0].argv
    with pytest.raises(BadInput, match="cannot be shared"):
        slice_shape("v6e-16", workers=3)


def test_cpu_workers_have_virtual_devices_and_keep_the_user_s_xla_flags() -> None:
    result = plan(device="cpu", devicesPerWorker=2, env={"XLA_FLAGS": "--xla_dump_to=/x", "SPICE": "1"})
    environment = result.launch[0].env
    assert environment["XLA_FLAGS"].startswith("--xla_dump_to=/x ")
    assert environment["XLA_FLAGS"].endswith(" --xla_force_host_platform_device_count=2")
    assert "JAX_COMPILATION_CACHE_DIR" not in environment
    assert environment["JAX_PLATFORMS"] == "cpu"
    assert environment["HF_HUB_OFFLINE"] == "1"
    assert environment["SPICE"] == "1"
    assert "TPU_LOG_DIR" not in environment
    assert result.device_count == 8


def test_tpu_logs_are_capped_and_the_compilation_cache_outlives_the_attempt() -> None:
    environment = plan().launch[0].env
    assert environment["TPU_LOG_DIR"] == "disabled"
    assert "{attempt}" not in environment["JAX_COMPILATION_CACHE_DIR"]


def test_two_devices_a_chip_count_twice() -> None:
    assert plan("v3-8").device_count == 8
    assert plan("v4-8").device_count == 4


@pytest.mark.parametrize(
    ("values", "key", "said"),
    [
        ({"flags": {"tp-size": 8}}, "tp-size", "plan works it out"),
        ({"flags": {"dp-size": 4}}, "dp-size", "no scheduler"),
        ({"flags": {"port": 1}}, "port", "serve.port"),
        ({"flags": {"api-key": "x"}}, "api-key", "secret in argv"),
        ({"flags": {"disable-precompile": True}}, "disable-precompile", "disable-jax-precompile"),
        ({"flags": {"disable-jax-precompile": True}, "version": "head"}, "disable-jax", "disable-precompile"),
        ({"flags": {"max-runing-requests": 4}}, "max-runing-requests", "max-running-requests"),
        ({"flags": {"mem-fraction-static": 1.5}}, "mem-fraction-static", "between 0 and 1"),
        ({"flags": {"max-total-tokens": 0}}, "max-total-tokens", "above zero"),
        ({"flags": {"context-length": "long"}}, "context-length", "above zero"),
        ({"flags": {"page-size": 128, "chunked-prefill-size": 200}}, "chunked-prefill-size", "128"),
        ({"flags": {"dtype": "int4"}}, "dtype", "bfloat16"),
        ({"env": {"PYTHONPATH": "/x"}}, "PYTHONPATH", "set by the plan"),
        ({"devicesPerWorker": 4}, "devicesPerWorker", "device cpu"),
    ],
)
def test_what_only_the_plan_may_say_is_refused(values: dict[str, Any], key: str, said: str) -> None:
    with pytest.raises(BadInput) as caught:
        plan(**values)
    assert key in caught.value.key
    assert said in str(caught.value)
    assert "secret" not in str(caught.value.value)


def test_every_bad_flag_is_named_at_once() -> None:
    with pytest.raises(BadInputs) as caught:
        plan(flags={"tp-size": 8, "no-such-flag": 1, "page-size": -1})
    assert len(caught.value.faults) == 3


def test_flags_become_argv() -> None:
    argv = (
        plan(
            flags={
                "trust-remote-code": True,
                "disable-radix-cache": False,
                "precompile-bs-paddings": "1 8",
                "page-size": 64,
            }
        )
        .launch[0]
        .argv
    )
    assert "--trust-remote-code" in argv
    assert "--disable-radix-cache" not in argv
    assert argv[argv.index("--precompile-bs-paddings") + 1 :][:2] == ("1", "8")
    assert value_of(argv, "--page-size") == "64"


def test_clients_see_a_folder_s_name_and_not_a_path_of_ours() -> None:
    assert value_of(plan(model=TINY).launch[0].argv, "--served-model-name") == "tiny:qwen2-28h"
    folder = plan_server(slice_shape("v6e-16"), TINY, serve(model="/home/me/models/my-qwen/"))
    assert value_of(folder.launch[0].argv, "--served-model-name") == "my-qwen"
    mine = plan(flags={"served-model-name": "house"})
    assert mine.launch[0].argv.count("--served-model-name") == 1
    assert "house" in " ".join(sglang_jax.probe_command(mine))


def test_bind_leaves_no_placeholder() -> None:
    bound = bind(plan(), worker0="10.0.0.1", model_path="/m", python="/p/python", attempt="/a", home="/h")
    for worker in bound.launch:
        text = " ".join([*worker.argv, *worker.env.values()])
        assert not re.search(r"\{\w+\}", text)
        assert worker.argv[0] == "/p/python"
        assert value_of(worker.argv, "--dist-init-addr") == "10.0.0.1:5000"
        assert worker.env["PYTHONPATH"] == "/a/files/shim"


def test_the_document_is_json() -> None:
    import json

    document = json.loads(json.dumps(plan().as_dict()))
    assert document["launch"][3]["index"] == 3


OFFERED = [name for name, item in facts.accelerator_types().items() if not item.family.refusal]
SMALL = [name for name in OFFERED if facts.accelerator_types()[name].chips <= 256]


@given(
    accelerator_type=st.sampled_from(SMALL),
    groups=st.integers(1, 16),
    kv_heads=st.integers(1, 16),
    layers=st.integers(1, 64),
    version=st.sampled_from(["0.0.2", "head"]),
)
def test_every_plan_obeys_the_engine_s_rules(
    accelerator_type: str, groups: int, kv_heads: int, layers: int, version: str
) -> None:
    model = replace(TINY, attention_heads=groups * kv_heads, kv_heads=kv_heads, layers=layers)
    try:
        result = plan(accelerator_type, model, version=version)
    except BadInput:
        assume(False)
        raise
    tensor = result.tensor_parallel
    assert model.attention_heads % tensor == 0
    assert kv_heads % tensor == 0 or tensor % kv_heads == 0
    assert tensor * result.data_parallel == result.device_count
    assert result.effective_replicas in (1, result.data_parallel)
    if version == "0.0.2":
        assert tensor % result.worker_count == 0
        assert result.effective_replicas == 1
    for larger in (size for size in (2 * tensor, 4 * tensor) if result.device_count % size == 0):
        # The plan takes the largest: a larger power of two breaks a rule.
        agrees = model.attention_heads % larger == 0 and (kv_heads % larger == 0 or larger % kv_heads == 0)
        assert not agrees or model.intermediate_size % larger or model.vocabulary % larger
    assert result.kv_tokens >= 0
    assert len(result.launch) == result.worker_count
    assert len({worker.argv for worker in result.launch}) == result.worker_count


@given(layers=st.integers(1, 200), fraction=st.floats(0.05, 0.95))
def test_more_layers_never_leave_more_cache(layers: int, fraction: float) -> None:
    flags = {"mem-fraction-static": fraction}
    few = plan(model=replace(TINY, layers=layers), flags=flags)
    many = plan(model=replace(TINY, layers=layers + 1), flags=flags)
    assert many.kv_tokens <= few.kv_tokens
    assert many.weights_gib_per_chip >= few.weights_gib_per_chip
