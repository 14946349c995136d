"""Price table: prices per hour and peak figures of machines, from a dated table that the user can replace."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from headrace.core import storage
from headrace.core.checks import is_finite
from headrace.core.errors import DataError, UsageError

_FORMAT = 1


@dataclass(frozen=True)
class Peak:
    """Peak figures of a device, as published by its maker.

    Attributes:
        teraflops: 10^12 operations per second.
        gigabytes_per_second: memory bandwidth.
        names: substrings of the names that the device reports.
        source: of the figures.
    """

    teraflops: float
    gigabytes_per_second: float
    names: tuple[str, ...]
    source: str


@dataclass(frozen=True)
class Machine:
    """A machine type of a cloud.

    Attributes:
        name: its type, such as "g2-standard-12".
        cores: number of vCPUs.
        accelerator: a key of `PriceTable.accelerators`; "" for none.
        accelerators: number of accelerators.
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
        date: of its prices, YYYY-MM-DD.
        source: of its prices, and what they exclude.
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
            UsageError: the table does not have the type.
        """
        if name in self.machines:
            return self.machines[name]
        raise UsageError(
            "the machine type is not in the price table",
            where="--machine-type",
            expected=", ".join(self.machines),
            received=name,
            fix="Choose one of these types, set --price-per-hour, or set your own table with --price-table",
        )

    def accelerator_of(self, reported: str | None) -> str:
        """The key of the accelerator that reports this name; "" if unknown."""
        for key, peak in self.accelerators.items():
            if reported and any(name in reported for name in peak.names):
                return key
        return ""


def load(uri: str = "") -> PriceTable:
    """Reads a price table; by default the one included in headrace.

    Raises:
        UsageError: the file does not exist, or cannot be read.
        DataError: the file is not a price table.
    """
    where = uri or str(Path(__file__).with_name("prices.json"))
    if not storage.exists(where):
        raise UsageError("the price table does not exist", where="--price-table", received=where)
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
    if not is_finite(value) or value <= 0:
        raise ValueError(f"{name} is {value!r}, where a number greater than 0 is expected")
    return float(value)


def _wrong(where: str, received: str) -> DataError:
    return DataError(
        "the file is not a valid price table",
        where=where,
        expected='"format": 1, "date", "source", "currency", "core", "accelerators" and "machines", as in prices.json',
        received=received,
        fix="Copy headrace/pipelines/advisor/prices.json, and edit the copy",
    )
