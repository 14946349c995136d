"""Cluster of training processes, as described by TF_CONFIG or Vertex AI's CLUSTER_SPEC."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from headrace.core.errors import UsageError

TASKS = ("chief", "worker", "ps", "evaluator")
# Vertex AI numbers its worker pools; its documentation of distributed training defines the role of each.
_POOLS = {"workerpool0": "chief", "workerpool1": "worker", "workerpool2": "ps", "workerpool3": "evaluator"}


@dataclass(frozen=True)
class Cluster:
    """A cluster and the task of this process in it.

    Attributes:
        addresses: "host:port" of each task, by type: chief, worker, ps or evaluator.
        task: the type of this process.
        index: the number of this process among those of its type.
        source: the environment variable that describes the cluster.
    """

    addresses: Mapping[str, tuple[str, ...]]
    task: str
    index: int
    source: str

    @property
    def workers(self) -> int:
        """Number of processes that train, including the chief."""
        return len(self.addresses.get("chief", ())) + len(self.addresses.get("worker", ()))

    @property
    def worker(self) -> int:
        """The number of this process among the workers; the chief is 0."""
        return self.index if self.task == "chief" else self.index + len(self.addresses.get("chief", ()))

    @property
    def chief(self) -> bool:
        """Whether this process writes: the chief, or the first worker of a cluster without a chief."""
        return self.task == "chief" or (self.task == "worker" and self.worker == 0)

    def to_tf_config(self) -> str:
        """This cluster as a value of TF_CONFIG."""
        cluster = {task: list(addresses) for task, addresses in self.addresses.items()}
        return json.dumps({"cluster": cluster, "task": {"type": self.task, "index": self.index}}, sort_keys=True)


def read_cluster(environment: Mapping[str, str]) -> Cluster | None:
    """Reads the cluster from the environment; None for a process that trains alone.

    Raises:
        UsageError: TF_CONFIG or CLUSTER_SPEC is not valid.
    """
    for name, pools in (("TF_CONFIG", {task: task for task in TASKS}), ("CLUSTER_SPEC", _POOLS)):
        text = environment.get(name, "")
        if text.strip():
            return _parse(name, text, pools)
    return None


def _parse(name: str, text: str, types: Mapping[str, str]) -> Cluster | None:
    try:
        content = json.loads(text)
    except ValueError as error:
        raise _wrong(name, "JSON", f"{text[:80]!r}: {error}") from error
    if not isinstance(content, dict):
        raise _wrong(name, 'an object with "cluster" and "task"', text[:80])
    cluster = content.get("cluster") or {}
    if not isinstance(cluster, dict):
        raise _wrong(name, '"cluster": {type: ["host:port", ...]}', repr(cluster))
    addresses: dict[str, tuple[str, ...]] = {}
    for kind, listed in cluster.items():
        # Some platforms still write "master", TensorFlow's older name of the chief.
        role = "chief" if kind == "master" and "chief" in types else types.get(kind)
        if role is None:
            raise _wrong(name, f'types among {", ".join(types)} in "cluster"', repr(kind))
        if not isinstance(listed, list) or not all(isinstance(one, str) and _is_address(one) for one in listed):
            raise _wrong(name, f'"{kind}": ["host:port", ...]', f'"{kind}": {json.dumps(listed)[:80]}')
        if listed:
            addresses[role] = tuple(listed)
    if not addresses:
        return None
    task = content.get("task")
    if not isinstance(task, dict) or "type" not in task or "index" not in task:
        raise _wrong(name, '"task": {"type": ..., "index": ...}', json.dumps(task))
    kind = types.get(task["type"]) if isinstance(task["type"], str) else None
    if kind is None and task["type"] == "master" and "chief" in types:
        kind = "chief"
    if kind is None or kind not in addresses:
        raise _wrong(name, f'"type" among {", ".join(cluster)} in "task"', repr(task["type"]))
    index = _index(name, task["index"])
    if index >= len(addresses[kind]):
        raise _wrong(name, f'"index" under {len(addresses[kind])}, the number of {kind} addresses', str(index))
    if len(addresses.get("chief", ())) > 1:
        raise _wrong(name, "one chief", f"{len(addresses['chief'])}")
    everyone = [address for listed in addresses.values() for address in listed]
    if len(set(everyone)) < len(everyone):
        raise _wrong(name, "different addresses", next(a for a in everyone if everyone.count(a) > 1) + " twice")
    if len(everyone) == 1:
        # Platforms also describe a single machine this way.
        return None
    return Cluster(addresses, kind, index, name)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isdigit() and 0 < int(port) < 65536


def _index(name: str, value: Any) -> int:
    # Some platforms write it as text.
    text = str(value)
    if isinstance(value, bool) or not text.isdigit():
        raise _wrong(name, '"index": a whole number from 0 in "task"', repr(value))
    return int(text)


def _wrong(name: str, expected: str, received: str) -> UsageError:
    return UsageError(
        f"{name} is wrong",
        where=f"environment variable {name}",
        expected=expected,
        received=received,
        fix=f"Correct it, or remove {name} to train in this process alone",
    )
