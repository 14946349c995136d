"""Vertex AI rules: a dated table, as data, and the checks that read it."""

from __future__ import annotations

import difflib
import functools
import json
import math
import re
from collections.abc import Collection, Mapping
from importlib import resources
from typing import Any

from headrace.core.errors import UsageError

_LABEL_KEY = re.compile(r"[a-z][a-z0-9_-]{0,62}\Z")
_LABEL_VALUE = re.compile(r"[a-z0-9_-]{0,63}\Z")
_MAX_LABELS = 64
_BUILT_IN = re.compile(r"(a2|a3|a4|a4x|g2|g4)-")
_ENVIRONMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
# How Google names families of machines, such as n4, c4d and ct6e: one that the table does not have may be new.
_FAMILY = re.compile(r"[a-z]{1,2}[0-9]{1,2}[a-z]{0,2}\Z")


class BrokenRule(UsageError):
    """An option breaks a rule of the service. Exit 2.

    Args:
        what: as of HeadraceError, and its other parts.
        source: of the rule, with the table's date.
    """

    def __init__(self, what: str, *, source: str = "", **parts: Any) -> None:
        super().__init__(what, **parts)
        self.source = source

    def to_json(self) -> dict[str, Any]:
        """As of HeadraceError; another process reads it as a UsageError."""
        return {**super().to_json(), "kind": UsageError.__name__}


@functools.cache
def table() -> dict[str, Any]:
    """The rules, their sources, the table's date, and the parts that were not compared with their source."""
    text = resources.files("headrace.pipelines.platforms").joinpath("vertex_rules.json").read_text(encoding="utf-8")
    rules: dict[str, Any] = json.loads(text)
    return rules


def rule(name: str) -> str:
    """A rule's text, for a message."""
    return str(table()["rules"][name]["text"])


def source(name: str) -> str:
    """A rule's name, the date of the table, and its source."""
    rules = table()
    return f"{name}, table of {rules['as_of']}: {rules['sources'][rules['rules'][name]['source']]}"


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
    if accelerator and accelerator not in rules["accelerators"]:
        return "accelerator_type"
    if not re.match(rules["machines"], machine):
        return "machine"
    if near_machine(machine):
        return "machine_type"
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
    """The types of boot disk that a machine type supports, in the table's order."""
    return [name for name, pattern in table()["boot_disks"].items() if re.match(pattern, machine)]


@functools.cache
def _machines() -> frozenset[str]:
    """The machine types of the table, whichever service offers them."""
    kinds = table()["machine_types"]
    return frozenset(["cloud-tpu", *(f"{kind}-{size}" for kind, sizes in kinds.items() for size in sizes.split())])


def is_known_machine(machine: str) -> bool:
    """Whether a machine type exists, of a family that Vertex AI is known to offer (an incomplete list)."""
    return machine in _machines() and re.match(table()["families"], machine) is not None


def near_machine(machine: str) -> str:
    """The machine type that one which the table does not have is a mistake for; "" if known, or perhaps newer."""
    family, _, rest = machine.partition("-")
    kind, _, size = rest.partition("-")
    kinds = table()["machine_types"]
    if machine in _machines() or not size:
        return ""
    of_family = [name for name in kinds if name.startswith(f"{family}-")]
    if not of_family and _FAMILY.match(family):
        return ""
    head = f"{family}-{kind}"
    if head not in kinds:
        head = _near(head, of_family or kinds)
    sizes = kinds[head].split() if head else []
    if size in sizes or not head:
        return f"{head}-{size}" if head else ""
    # Sizes of machines with accelerators end with a letter, which is easily left out: a3-highgpu-8g.
    found = _near(size, sizes) or next((one for one in sizes if one.startswith(size)), "")
    found = found or ("" if head == f"{family}-{kind}" else sizes[-1])
    return f"{head}-{found}" if found else ""


def near_region(region: str) -> str:
    """The region that one which the table does not have is a mistake for; "" if known, or perhaps newer."""
    known = table()["regions"].split()
    return "" if region in (*known, *table()["other_regions"].split()) else _near(region, known)


def _near(name: str, known: Collection[str]) -> str:
    """The known name that an unknown one is a mistake for, or "".

    Sizes, families and regions are numbered upwards: a number above the known ones may be newer than the table.
    """
    numbered = re.fullmatch(r"(\D*)([0-9]+)(\D*)", name)
    if numbered:
        same = re.compile(f"{re.escape(numbered[1])}([0-9]+){re.escape(numbered[3])}")
        siblings = {int(found[1]): one for one in known if (found := same.fullmatch(one))}
        if siblings:
            number = int(numbered[2])
            nearest = min(siblings, key=lambda other: (abs(other - number), other))
            return "" if number > max(siblings) else siblings[nearest]
    return next(iter(difflib.get_close_matches(name, known, n=1, cutoff=0.75)), "")


def _near_accelerator(name: str) -> str:
    """The accelerator that an unknown name is a mistake for, or ""; Compute Engine writes names in small letters."""
    known: list[str] = [one for one, counts in table()["accelerators"].items() if counts]
    words = set(name.upper().replace("-", "_").split("_"))
    with_all = [one for one in known if words <= set(one.split("_"))]
    return next(iter(with_all or difflib.get_close_matches(name, known, n=1)), "")


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


def refuse(name: str, what: str, received: object, *, fix: str | None = None) -> BrokenRule:
    """The error for a value that breaks a rule; the rule is the expected value."""
    expected = f"a value by the rule: {rule(name)}"
    return BrokenRule(what, source=source(name), expected=expected, received=str(received), fix=fix)


def refuse_accelerator(accelerator: str) -> BrokenRule:
    """The error for an accelerator that does not exist, with the one that was probably meant."""
    near = _near_accelerator(accelerator)
    known = [one for one, counts in table()["accelerators"].items() if counts]
    return BrokenRule(
        f"{accelerator} is not an accelerator of Vertex AI",
        source=source("accelerator_type"),
        expected=None if near else f"one of {', '.join(known)}",
        fix=f"Perhaps {near}" if near else None,
    )


def check_name(machine: str) -> None:
    """Refuses a machine type that is a mistake for one that exists.

    Raises:
        BrokenRule: it is near one of the table.
    """
    near = near_machine(machine)
    if near:
        what = f"{machine} is not a machine type of Google Cloud"
        raise BrokenRule(what, source=source("machine_type"), fix=f"Perhaps {near}")


def check_region(region: str) -> None:
    """Refuses a region that is a mistake for one that exists.

    Raises:
        BrokenRule: it is near one of the table.
    """
    near = near_region(region)
    if near:
        what = f"{region} is not a region of Vertex AI"
        raise BrokenRule(what, source=source("region"), fix=f"Perhaps {near}")


def doubts(region: str, machines: Mapping[str, str]) -> list[BrokenRule]:
    """What the table does not have and does not refuse: it may be newer than the table, or a mistake.

    Args:
        region: of all.
        machines: the machine type by its table of the options; "" for the service's choice. Dataflow also accepts
            custom types, and families that Vertex AI's own jobs do not support.
    """
    found = []
    if region not in table()["regions"].split():
        what, fix = f"the table of regions has no {region}", "Check that Vertex AI is available there"
        found.append(BrokenRule(what, source=source("region"), where="[vertex]", fix=fix))
    for where, machine in machines.items():
        dataflow = where == "vertex.dataflow"
        known = machine in _machines() or "custom-" in machine if dataflow else is_known_machine(machine)
        if machine and not known:
            what, fix = f"the table of machine types has no {machine}", "Check that the service offers it"
            found.append(BrokenRule(what, source=source("machine_type"), where=f"[{where}]", fix=fix))
    return found


def check_machine(machine: str, accelerator: str, count: int, topology: str = "", *, shared: bool = False) -> None:
    """Refuses a machine that the service would reject after it has queued the job; arguments as `broken_machine_rule`.

    Raises:
        UsageError: a rule is broken.
    """
    broken = broken_machine_rule(machine, accelerator, count, topology, shared=shared)
    if broken is None:
        return
    if broken == "accelerator_type":
        raise refuse_accelerator(accelerator)
    if broken == "machine":
        raise refuse("machine", f"{machine} is not a machine type of Google Cloud", machine)
    check_name(machine)
    accelerators = f"{count} x {accelerator}" if accelerator else "no accelerator"
    raise refuse(
        broken,
        f"{machine} and {accelerators} do not go together",
        f"{machine} with {accelerators}" + (f", topology {topology}" if topology else ""),
        fix=None if tpu_generation(machine) else f"{machine} supports {allowed_for(machine)}",
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


def check_environment(environment: Mapping[str, str]) -> None:
    """Refuses environment variables of a job that the service or the launcher of jobs would reject or remove.

    Raises:
        UsageError: a name or a value is not valid.
    """
    reserved = [name for name in environment if name.startswith(("AIP_", "CLUSTER_SPEC", "TF_CONFIG"))]
    wrong = [name for name in environment if not _ENVIRONMENT.match(name)]
    if wrong or reserved:
        raise UsageError(
            "the name of a variable is not valid" if wrong else "the service sets this variable itself",
            where="environment",
            expected="letters, digits and _, and none of AIP_*, CLUSTER_SPEC and TF_CONFIG",
            received=", ".join(wrong or reserved),
        )
    # google-cloud-pipeline-components builds the request by concatenating JSON: what it cannot contain is refused here.
    glued = [name for name, value in environment.items() if re.search(r"[\x00-\x1f]|\{\{", value)]
    if glued:
        raise UsageError(
            "the value of a variable cannot be part of the request",
            where="environment",
            expected="one line of text without {{",
            received=", ".join(glued),
        )
    check_not_empty("environment", environment)
