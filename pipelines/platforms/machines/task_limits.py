"""Limits of a pipeline task on Vertex AI: one check for the options that are compiled, and for specs."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from headrace.pipelines.platforms import vertex_rules

# The maximum of each limit, as of the rule task_machine: CPUs, and bytes of memory.
_MAXIMA = {"cpuLimit": 96.0, "memoryLimit": 624e9}
# A spec of older compilers has numbers: CPUs, and GB of memory.
_UNITS_OF_NUMBERS = {"cpuLimit": 1.0, "memoryLimit": 1e9}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]+)?)(m|[KMGTPE]i?|)\Z")
_UNITS = {"": 1.0, "m": 1e-3}
_UNITS |= {prefix: 1e3**power for power, prefix in enumerate("KMGTPE", 1)}
_UNITS |= {f"{prefix}i": 1024.0**power for power, prefix in enumerate("KMGTPE", 1)}
# Units of memory in options; a spec may also have others of KFP's.
_MEMORY = re.compile(r"[0-9]+(G|Gi|M|Mi)\Z")


def check_options(cpu: int, memory: str) -> None:
    """Refuses limits of a task's options that no machine of a task has.

    Args:
        cpu: number of CPUs; 0 for the service's choice.
        memory: such as "32G"; "" for the service's choice.

    Raises:
        BrokenRule: a limit is not a quantity, is zero, or is more than the service has.
    """
    if cpu and not _is_allowed("cpuLimit", float(cpu)):
        raise vertex_rules.refuse("task_machine", "cpu is not valid", cpu)
    if memory and not (_MEMORY.match(memory) and _is_allowed("memoryLimit", _amount(memory) or 0.0)):
        fix = "Write it in G, Gi, M or Mi, such as 32G, or leave it out"
        raise vertex_rules.refuse("task_machine", "memory is not valid", repr(memory), fix=fix)


def broken_limits(resources: Mapping[str, Any]) -> list[str]:
    """The limits of an executor's container that no machine of a task has, as "memoryLimit 1T".

    Args:
        resources: of the container, as texts with a unit, or as numbers of CPUs and GB. A text that is not a quantity,
            such as a placeholder, is known only to the run.
    """
    found = []
    for key, unit in _UNITS_OF_NUMBERS.items():
        text = str(resources.get(f"resource{key[0].upper()}{key[1:]}") or "")
        number = resources.get(key)
        amount = _amount(text)
        if text:
            if amount is not None and not _is_allowed(key, amount):
                found.append(f"{key} {text}")
        elif isinstance(number, int | float) and number and not _is_allowed(key, number * unit):
            found.append(f"{key} {number:g}")
    return found


def check_containers(containers: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Refuses a compiled pipeline with limits that no machine of a task has.

    Args:
        containers: names and containers of the spec's executors.

    Raises:
        BrokenRule: one has such a limit.
    """
    for name, container in containers:
        resources = container.get("resources")
        broken = broken_limits(resources) if isinstance(resources, Mapping) else []
        if broken:
            error = vertex_rules.refuse("task_machine", "a task's limit is not valid", ", ".join(broken))
            raise error.at(name)


def _amount(text: str) -> float | None:
    """CPUs or bytes; None for a text that is not a quantity."""
    found = _QUANTITY.match(text)
    return float(found[1]) * _UNITS[found[2]] if found else None


def _is_allowed(key: str, amount: float) -> bool:
    return 0 < amount <= _MAXIMA[key]
