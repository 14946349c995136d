"""What is chosen for which machine, and what is refused: pure functions, so no such machine is needed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.components.train.devices.batch import Batch, batch_of
from headrace.components.train.devices.cluster import Cluster, read_cluster
from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.devices.strategy import Strategy, choose
from headrace.components.train.options import Budget, Distribution, Options
from headrace.core.errors import UsageError
from headrace.core.problem import Training
from headrace.pipelines.advisor.describe_machine import description

WORKERS = {"chief": ("a:1",), "worker": ("b:1", "c:1")}
SERVED = {**WORKERS, "ps": ("d:1",)}


def machine(gpus: int = 0, model: str = "NVIDIA H100", capability: Any = (9, 0), **more: Any) -> Hardware:
    devices = tuple(f"GPU:{index}" for index in range(gpus))
    more = {"accelerator": model if gpus else None, "capability": capability if gpus else None, **more}
    return Hardware(devices, cores=4, memory_bytes=8_000_000_000, **more)


def cluster(addresses: Any, task: str = "worker", index: int = 1) -> Cluster:
    return Cluster(addresses, task, index, "TF_CONFIG")


@pytest.mark.parametrize(
    ("found", "asked", "name", "devices", "why"),
    [
        (machine(), "auto", "OneDevice", ("CPU:0",), "no accelerator: the CPU, with 4 cores"),
        (machine(1), "auto", "OneDevice", ("GPU:0",), "one NVIDIA H100 was found"),
        (machine(2), "auto", "Mirrored", ("GPU:0", "GPU:1"), "2 of NVIDIA H100 were found"),
        (
            machine(2),
            "one_device",
            "OneDevice",
            ("GPU:0",),
            "one device was requested, of 2 NVIDIA H100 that were found",
        ),
        (
            machine(cpus=2),
            "mirrored",
            "Mirrored",
            ("CPU:0", "CPU:1"),
            "requested; the CPU is divided into 2 devices",
        ),
        (
            machine(2, cluster=cluster(WORKERS)),
            "auto",
            "MultiWorkerMirrored",
            ("GPU:0", "GPU:1"),
            "TF_CONFIG names 3 workers, of which this is number 2",
        ),
        (machine(tpu="node-1"), "auto", "TPU", ("TPU:0",), "TPU_NAME names the TPU node-1"),
    ],
)
def test_the_strategy_follows_from_the_machine(
    found: Hardware, asked: Any, name: str, devices: tuple[str, ...], why: str
) -> None:
    chosen = choose(found, Distribution(strategy=asked))
    told = chosen.to_json()
    assert (told["name"], tuple(told["devices"]), told["why"]) == (name, devices, why)
    assert json.loads(json.dumps(told)) == told


@pytest.mark.parametrize(
    ("found", "asked", "expected", "received"),
    [
        (machine(), {"strategy": "mirrored"}, "two GPUs or more", "no GPU, and a CPU of 4 cores"),
        (machine(1), {"strategy": "mirrored"}, "two GPUs or more", "one NVIDIA H100"),
        (machine(), {"strategy": "tpu"}, "the environment variable TPU_NAME", "no TPU_NAME"),
        (machine(tpu="t", cluster=cluster(WORKERS)), {}, "a TPU, or a cluster", "both TPU_NAME and TF_CONFIG"),
        (machine(), {"strategy": "multi_worker"}, "the addresses of two workers or more", "neither, or one"),
        (
            machine(cluster=cluster(SERVED)),
            {},
            "no parameter server (ps)",
            "1 chief, 1 ps, 2 worker; this one is worker 1",
        ),
        (
            machine(cluster=cluster({"chief": ("a:1",), "evaluator": ("b:1",)}, "evaluator", 0)),
            {},
            "two or more processes of type chief or worker",
            "1 chief, 1 evaluator; this one is evaluator 0",
        ),
        (
            machine(cluster=cluster(WORKERS)),
            {"strategy": "one_device"},
            "a machine that trains alone",
            "TF_CONFIG with 3 processes",
        ),
        (machine(tpu="t"), {"precision": "mixed_float16"}, "a TPU computes in mixed_bfloat16", "a TPU"),
    ],
)
def test_what_the_machine_cannot_do_is_refused(
    found: Hardware, asked: dict[str, Any], expected: str, received: str
) -> None:
    with pytest.raises(UsageError) as caught:
        choose(found, Distribution(**asked))
    assert expected in str(caught.value.expected)
    assert received in str(caught.value.received)


@pytest.mark.parametrize(
    ("found", "asked", "precision", "why"),
    [
        (machine(), "auto", "float32", "a CPU does not gain from lower precision"),
        (
            machine(1),
            "auto",
            "mixed_bfloat16",
            "NVIDIA H100 has compute capability 9.0, and gains from bfloat16 from 8.0 on",
        ),
        (
            machine(1, "Tesla T4", (7, 5)),
            "auto",
            "mixed_float16",
            "Tesla T4 has compute capability 7.5: float16, with the loss scaled",
        ),
        (
            machine(1, "Tesla P100", (6, 0)),
            "auto",
            "float32",
            "Tesla P100 has compute capability 6.0, and gains from lower precision from 7.0 on",
        ),
        (
            machine(1, "A new one", None),
            "auto",
            "float32",
            "A new one has compute capability unknown, and gains from lower precision from 7.0 on",
        ),
        (machine(tpu="t"), "auto", "mixed_bfloat16", "a TPU multiplies in bfloat16"),
        (machine(1), "mixed_float16", "mixed_float16", "requested"),
        (machine(1), "float32", "float32", "requested"),
        (machine(), "mixed_bfloat16", "mixed_bfloat16", "requested; this device does not gain from it"),
    ],
)
def test_precision_follows_from_the_device(found: Hardware, asked: Any, precision: str, why: str) -> None:
    chosen = choose(found, Distribution(precision=asked))
    assert (chosen.precision, chosen.precision_why) == (precision, why)


def test_the_chief_alone_writes() -> None:
    def roles(addresses: Any, *tasks: tuple[str, int]) -> list[tuple[int, bool]]:
        found = [choose(machine(cluster=cluster(addresses, *task))) for task in tasks]
        return [(one.worker, one.chief) for one in found]

    assert roles(WORKERS, ("chief", 0), ("worker", 0), ("worker", 1)) == [(0, True), (1, False), (2, False)]
    assert roles({"worker": ("a:1", "b:1")}, ("worker", 0), ("worker", 1)) == [(0, True), (1, False)]


def test_the_environment_describes_the_cluster() -> None:
    told = {"cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]}, "task": {"type": "worker", "index": 1}}
    expected = Cluster(WORKERS, "worker", 1, "TF_CONFIG")
    assert read_cluster({"TF_CONFIG": json.dumps(told)}) == expected
    assert read_cluster({"TF_CONFIG": expected.to_tf_config()}) == expected
    pools = {
        "cluster": {"workerpool0": ["a:1"], "workerpool1": ["b:1", "c:1"], "workerpool2": ["d:1"]},
        "environment": "cloud",
        "task": {"type": "workerpool2", "index": 0, "trial": "7"},
    }
    assert read_cluster({"CLUSTER_SPEC": json.dumps(pools)}) == Cluster(SERVED, "ps", 0, "CLUSTER_SPEC")
    # Older names, and numbers as text.
    older = {"cluster": {"master": ["a:1"], "worker": ["b:1"]}, "task": {"type": "master", "index": "0"}}
    assert read_cluster({"TF_CONFIG": json.dumps(older)}) == Cluster(
        {"chief": ("a:1",), "worker": ("b:1",)}, "chief", 0, "TF_CONFIG"
    )
    alone = {"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}
    for environment in ({}, {"TF_CONFIG": " "}, {"TF_CONFIG": "{}"}, {"TF_CONFIG": json.dumps(alone)}):
        assert read_cluster(environment) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "Expected JSON"),
        ("[]", 'Expected an object with "cluster" and "task"'),
        ('{"cluster": []}', None),
        ('{"cluster": ["a:1"]}', 'Expected "cluster": {type: ["host:port", ...]}'),
        ('{"cluster": {"boss": ["a:1"]}}', "Expected types among chief, worker, ps, evaluator"),
        ('{"cluster": {"worker": ["a"]}}', 'Expected "worker": ["host:port", ...]'),
        ('{"cluster": {"worker": ["a:1", "b:99999"]}}', 'Expected "worker": ["host:port", ...]'),
        ('{"cluster": {"worker": ["a:1", "b:1"]}}', '"task": {"type": ..., "index": ...}'),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "ps", "index": 0}}',
            '"type" among worker in "task". Received: \'ps\'',
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 2}}',
            '"index" under 2, the number of worker addresses. Received: 2',
        ),
        (
            '{"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": -1}}',
            '"index": a whole number from 0',
        ),
        (
            '{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
            "Expected different addresses. Received: a:1 twice",
        ),
        (
            '{"cluster": {"chief": ["a:1", "b:1"]}, "task": {"type": "chief", "index": 0}}',
            "Expected one chief. Received: 2",
        ),
    ],
)
def test_a_description_of_a_cluster_that_is_wrong(text: str, said: str | None) -> None:
    if said is None:
        assert read_cluster({"TF_CONFIG": text}) is None
        return
    with pytest.raises(UsageError) as caught:
        read_cluster({"TF_CONFIG": text})
    assert said in caught.value.paragraph
    assert "environment variable TF_CONFIG" in caught.value.paragraph


def test_the_batch_is_spelled_out_for_each_replica() -> None:
    training = Training(batch_size=96, learning_rate=0.01)
    assert batch_of(training, 4).to_json() == {
        "batch_size": 96,
        "batch_size_per_replica": 24,
        "replicas": 4,
        "learning_rate": 0.01,
    }
    # Fewer rows than a batch make the batch smaller, and divisible.
    assert batch_of(training, 4, rows=51) == Batch(48, 12, 4, 0.01)
    with pytest.raises(UsageError, match=r"a multiple of 5, the number of replicas: the nearest are 95 and 100"):
        batch_of(training, 5)
    with pytest.raises(UsageError, match="fewer rows than replicas"):
        batch_of(training, 4, rows=3)


@pytest.mark.parametrize(("scaling", "rate"), [("none", 0.01), ("linear", 0.04), ("sqrt", 0.02)])
def test_the_learning_rate_is_scaled_on_request(scaling: Any, rate: float) -> None:
    training = Training(batch_size=96, learning_rate=0.01, learning_rate_scaling=scaling)
    assert batch_of(training, 4).learning_rate == pytest.approx(rate)
    assert batch_of(training, 1).learning_rate == 0.01


def lines(found: Hardware, training: Training | None = None, **options: Any) -> dict[str, str]:
    return dict(description(training or Training(batch_size=64), Options(**options), found))


def test_what_it_would_do_is_described() -> None:
    assert lines(machine()) == {
        "Machine": "4 cores, no accelerator, 8.0 GB of memory free",
        "Strategy": "OneDevice: no accelerator: the CPU, with 4 cores",
        "Devices": "CPU:0",
        "Precision": "float32: a CPU does not gain from lower precision; weights, and the exported model, are float32",
        "XLA": "no: not requested",
        "Batch": "64 rows per step; learning rate 0.001",
        "Budget": "none",
    }
    found = machine(2, cluster=cluster(WORKERS))
    told = lines(
        found,
        Training(batch_size=1200, learning_rate_scaling="linear"),
        distribution=Distribution(xla=True),
        budget=Budget(max_hours=2, max_cost=9, price_per_hour=3, target="auc=0.9"),
    )
    assert told["Batch"] == (
        "1,200 rows per step: 200 on each of 6 replicas; learning rate 0.006 (0.001, scaled: linear)"
    )
    assert told["Cluster"] == "3 processes train; this one is a worker, which writes nothing"
    assert told["XLA"] == "yes: the step is compiled"
    assert told["Budget"] == "ends at the first of: max_hours 2 (2.0 h); max_cost 9 (3.0 h); auc=0.9"
    assert lines(machine(tpu="t"))["Batch"] == "64 rows per step, over the cores of the TPU, of static shape"
    with pytest.raises(UsageError, match="the batch cannot be divided evenly"):
        lines(found)
    assert Strategy("OneDevice", "", "CPU:0").to_json()["devices"] == ["CPU:0"]
