from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from headrace.core.errors import DataError, UsageError
from headrace.pipelines.advisor import prices

OWN: dict[str, Any] = {
    "format": 1,
    "date": "2026-01-01",
    "currency": "EUR",
    "source": "our contract",
    "core": {"teraflops": 0.1, "gigabytes_per_second": 3, "source": "measured"},
    "accelerators": {"T4": {"names": ["Tesla T4"], "teraflops": 8, "gigabytes_per_second": 320, "source": "NVIDIA"}},
    "machines": {"ours": {"cores": 8, "accelerator": "T4", "accelerators": 2, "price_per_hour": 1.5}},
}


def written(folder: Path, **changes: Any) -> str:
    path = folder / "prices.json"
    path.write_text(json.dumps({**OWN, **changes}))
    return str(path)


def test_the_table_that_comes_along_is_whole_and_dated() -> None:
    table = prices.load()
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", table.date)
    assert table.currency == "USD"
    assert "Google Cloud list prices" in table.source
    assert table.machine("a2-highgpu-1g") == prices.Machine("a2-highgpu-1g", 12, "A100 40GB", 1, 3.673385)
    assert table.machine("e2-standard-4").accelerators == 0
    for machine in table.machines.values():
        assert not machine.accelerator or machine.accelerator in table.accelerators


@pytest.mark.parametrize(
    ("reported", "known"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA A100-SXM4-40GB", "A100 40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100 80GB"),
        ("NVIDIA L4", "L4"),
        ("Tesla K80", ""),
        (None, ""),
    ],
)
def test_accelerators_are_known_by_what_they_report(reported: str | None, known: str) -> None:
    assert prices.load().accelerator_of(reported) == known


def test_a_table_of_ones_own_replaces_it(tmp_path: Path) -> None:
    table = prices.load(written(tmp_path))
    assert (table.date, table.currency, list(table.machines)) == ("2026-01-01", "EUR", ["ours"])
    assert table.machine("ours") == prices.Machine("ours", 8, "T4", 2, 1.5)
    with pytest.raises(UsageError, match="not in the price table"):
        table.machine("e2-standard-4")


@pytest.mark.parametrize(
    ("changes", "received"),
    [
        ({"format": 2}, "format 2"),
        ({"machines": {"m": {"cores": 4}}}, "no 'price_per_hour'"),
        ({"machines": {"m": {"cores": 4, "price_per_hour": -1}}}, "price_per_hour is -1"),
        ({"machines": {"m": {"cores": 4, "accelerator": "X", "accelerators": 1, "price_per_hour": 1}}}, "'X'"),
        ({"machines": {"m": {"cores": 4, "price_per_hour": 10**400}}}, "price_per_hour is 1000"),
        ({"machines": []}, "'list' object"),
        ({"core": {"teraflops": "fast", "gigabytes_per_second": 1, "source": ""}}, "teraflops is 'fast'"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, changes: dict[str, Any], received: str) -> None:
    with pytest.raises(DataError) as caught:
        prices.load(written(tmp_path, **changes))
    assert received in (caught.value.received or "")


def test_a_missing_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the price table does not exist"):
        prices.load(str(tmp_path / "none.json"))
