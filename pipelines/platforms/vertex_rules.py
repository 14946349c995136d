"""Vertex AI rules: a dated table, as data, and the checks that read it."""

from __future__ import annotations

import functools
import json
import math
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

from headrace.core.errors import UsageError

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_MAX_LABELS = 64
# Limits of a task's machine, as of the rule task_machine.
MAX_TASK_CPUS, MAX_TASK_GIGABYTES = 96, 624
_BUILT_IN = re.compile(r"(a2|a3|a4|a4x|g2|g4)-")


@functools.cache
def table() -> dict[str, Any]:
    """The rules, their sources, the table's date, and the parts that were not compared with their source."""
    text = resources.files("headrace.pipelines.platforms").joinpath("vertex_rules.json").read_text(encoding="utf-8")
    rules: dict[str, Any] = json.loads(text)
    return rules


def rule(name: str) -> str:
    """A rule's text with its source and date, for a message."""
    rules = table()
    found = rules["rules"][name]
    return f"{found['text']} ({rules['sources'][found['source']]}; table of {rules['as_of']})"


def broken_machine_rule(
    machine: str, accelerator: str, count: int, topology: str, *, shared: bool = False
) -> str | None:
    """The name of the rule that a machine with its accelerators breaks, or None.

    Args:
        machine: the machine type.
        accelerator: Vertex AI's name of the accelerator, or "".
        count: accelerators per machine; 0 without an accelerator.
        topology: of a TPU, or "".
        shared: whether replicas share a machine, as an endpoint's do, so that one has fewer of the built-in GPUs.
    """
    rules = table()
    if not re.match(rules["machines"], machine):
        return "machine"
    if bool(accelerator) != bool(count):
        return "accelerator_count"
    if tpu_generation(machine):
        return "tpu_topology" if accelerator or not re.fullmatch(r"\d+x\d+(x\d+)?", topology) else None
    if topology:
        return "tpu_topology"
    if not accelerator:
        return "accelerator_needs_machine" if _BUILT_IN.match(machine) or machine == "cloud-tpu" else None
    counts = rules["accelerators"].get(accelerator, {})
    supported = [int(number) for number, pattern in counts.items() if re.match(pattern, machine)]
    fewer = shared and _BUILT_IN.match(machine) and 0 < count <= max(supported, default=0)
    return None if count in supported or fewer else "accelerator"


def boot_disks(machine: str) -> list[str]:
    """The types of boot disk that a machine type takes, in the table's order."""
    return [name for name, pattern in table()["boot_disks"].items() if re.match(pattern, machine)]


def is_known_family(machine: str) -> bool:
    """Whether the machine type is of a family that Vertex AI is known to offer; the list of families is incomplete."""
    return re.match(table()["families"], machine) is not None


def tpu_generation(machine: str) -> str | None:
    """The TPU generation of a TPU machine type, such as v5e; None for other machines."""
    for pattern, generation in table()["tpu_machines"].items():
        if re.fullmatch(pattern, machine):
            return str(generation)
    return None


def is_tpu(machine: str) -> bool:
    """Whether the machine type has a TPU."""
    return machine == "cloud-tpu" or tpu_generation(machine) is not None


def is_tpu_pod(machine: str, topology: str) -> bool:
    """Whether a TPU's topology has more chips than one machine: such a TPU is a slice of a Pod."""
    found = re.search(r"-([0-9]+)t$", machine)
    return found is not None and math.prod(int(side) for side in topology.split("x")) > int(found[1])


def allowed_for(machine: str) -> str:
    """The accelerators, and the counts of each, that a machine type supports."""
    found = [
        f"{count} x {name}"
        for name, counts in table()["accelerators"].items()
        for count, pattern in counts.items()
        if re.match(pattern, machine)
    ]
    return ", ".join(found) or "none"


def broken_labels(labels: Mapping[str, str]) -> list[str]:
    """The labels that Google Cloud rejects, as KEY=VALUE."""
    wrong = [
        f"{key}={value}" for key, value in labels.items() if not (_LABEL_KEY.match(key) and _LABEL_VALUE.match(value))
    ]
    return wrong or ([f"{len(labels)} labels"] if len(labels) > _MAX_LABELS else [])


def refuse(name: str, what: str, received: object, *, fix: str | None = None) -> UsageError:
    """The error for a value that breaks a rule; the rule is the expected value."""
    return UsageError(what, expected=f"a value by the rule: {rule(name)}", received=str(received), fix=fix)


def check_machine(machine: str, accelerator: str, count: int, topology: str = "", *, shared: bool = False) -> None:
    """Refuses a machine that the service would reject after it has queued the job; arguments as `broken_machine_rule`.

    Raises:
        UsageError: a rule is broken.
    """
    broken = broken_machine_rule(machine, accelerator, count, topology, shared=shared)
    if broken is None:
        return
    configuration = f"{machine} with {f'{count} x {accelerator}' if accelerator else 'no accelerator'}"
    raise refuse(
        broken,
        "the machine type does not exist"
        if broken == "machine"
        else "the machine and its accelerators do not go together",
        configuration + (f", topology {topology}" if topology else ""),
        fix=None if broken == "machine" or tpu_generation(machine) else f"{machine} supports {allowed_for(machine)}",
    )


def check_labels(labels: Mapping[str, str]) -> None:
    """Refuses labels that Google Cloud rejects, and those that would not reach a run's jobs.

    Raises:
        UsageError: a label is not valid, or empty.
    """
    wrong = broken_labels(labels)
    if wrong:
        raise refuse("labels", "a label is not valid", ", ".join(wrong))
    check_not_empty("labels", labels)


def check_not_empty(option: str, values: Mapping[str, str]) -> None:
    """Refuses empty values, which the launcher of a job removes from its request.

    Args:
        option: its name.
        values: texts by name.

    Raises:
        UsageError: a value is empty.
    """
    empty = [name for name, value in values.items() if not value]
    if empty:
        what, fix = f"a value of {option} is empty", "Leave it out, or give it a value"
        raise refuse("empty_value", what, ", ".join(empty), fix=fix)
