"""What machines cost an hour and what they can do at most, from a dated table that the user may replace."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.core import storage
from headrace.core.errors import DataError, UsageError

_FORMAT = 1


@dataclass(frozen=True)
class Peak:
    """What a device does at most, by its maker.

    Attributes:
        teraflops: 10^12 operations a second.
        gigabytes_per_second: of its memory.
        names: parts of the names under which it reports itself.
        source: where the figures come from.
    """

    teraflops: float
    gigabytes_per_second: float
    names: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Machine:
    """A machine that can be rented.

    Attributes:
        name: its type, such as "g2-standard-12".
        cores: as the cloud counts them (vCPUs).
        accelerator: a key of `PriceTable.accelerators`; "" for none.
        accelerators: how many.
        price_per_hour: in the table's currency.
    """

    name: str
    cores: int
    accelerator: str
    accelerators: int
    price_per_hour: float


@dataclass(frozen=True)
class PriceTable:
    """A table of machines.

    Attributes:
        date: when its prices were found, YYYY-MM-DD.
        source: where, and what they leave out.
        currency: such as "USD".
        core: peak figures of one core.
        accelerators: by name.
        machines: by type.
    """

    date: str
    source: str
    currency: str
    core: Peak
    accelerators: Mapping[str, Peak]
    machines: Mapping[str, Machine]

    def machine(self, name: str) -> Machine:
        """The machine of a type.

        Raises:
            UsageError: the table does not have it.
        """
        if name in self.machines:
            return self.machines[name]
        raise UsageError(
            "the machine type is not in the price table",
            where="--machine-type",
            expected=", ".join(self.machines),
            received=name,
            fix="Name one of them, give --price-per-hour, or give a table of your own with --price-table",
        )

    def accelerator_of(self, reported: str | None) -> str:
        """The key of the accelerator that reports itself by this name; "" where none is known."""
        for key, peak in self.accelerators.items():
            if reported and any(name in reported for name in peak.names):
                return key
        return ""


def load(uri: str = "") -> PriceTable:
    """Reads a price table; the one that comes with Headrace where none is given.

    Raises:
        UsageError: there is no such file, or it cannot be read.
        DataError: it is not a price table.
    """
    where = uri or str(Path(__file__).with_name("prices.json"))
    if not storage.exists(where):
        raise UsageError("there is no such price table", where="--price-table", received=where)
    try:
        content = storage.read_json(where)
    except OSError as error:
        raise UsageError(
            "the price table cannot be read", where="--price-table", received=f"{where}: {error.strerror}"
        ) from error
    try:
        if content["format"] != _FORMAT:
            raise ValueError(f"format {content['format']!r}")
        accelerators = {name: _peak(entry) for name, entry in content["accelerators"].items()}
        machines = {name: _machine(name, entry, accelerators) for name, entry in content["machines"].items()}
        date, source, currency = (str(content[name]) for name in ("date", "source", "currency"))
        return PriceTable(date, source, currency, _peak(content["core"]), accelerators, machines)
    except KeyError as error:
        raise _wrong(where, f"no {error}") from error
    except (AttributeError, TypeError, ValueError) as error:
        raise _wrong(where, str(error)) from error


def _peak(entry: Mapping[str, Any]) -> Peak:
    teraflops, bandwidth = (_positive(entry[name], name) for name in ("teraflops", "gigabytes_per_second"))
    return Peak(teraflops, bandwidth, tuple(entry.get("names", ())), str(entry["source"]))


def _machine(name: str, entry: Mapping[str, Any], accelerators: Mapping[str, Peak]) -> Machine:
    accelerator = str(entry.get("accelerator", ""))
    if accelerator and accelerator not in accelerators:
        raise ValueError(f"{name} has an accelerator {accelerator!r} that the table does not describe")
    count = int(_positive(entry["accelerators"], "accelerators")) if accelerator else 0
    cores = int(_positive(entry["cores"], "cores"))
    return Machine(name, cores, accelerator, count, _positive(entry["price_per_hour"], "price_per_hour"))


def _positive(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        raise ValueError(f"{name} is {value!r}, where a number greater than 0 is expected")
    return float(value)


def _wrong(where: str, received: str) -> DataError:
    return DataError(
        "it is not a price table",
        where=where,
        expected='"format": 1, "date", "source", "currency", "core", "accelerators" and "machines", as in prices.json',
        received=received,
        fix="Copy headrace/components/train/prices.json, and change what differs",
    )
