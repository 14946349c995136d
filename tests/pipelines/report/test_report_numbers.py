"""Scales and number formats of the report."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.pipelines.report import formats
from headrace.pipelines.report.charts import density
from headrace.pipelines.report.scale import Scale

finite = st.floats(allow_nan=False, allow_infinity=False)


@pytest.mark.parametrize(
    ("value", "shown"),
    [(1.16684, "1.167"), (0.0, "0"), (-0.02143, "−0.02143"), (12345.678, "12,346"), (9.99996, "10.000"), (None, "–")],  # noqa: RUF001
)
def test_significant(value: float | None, shown: str) -> None:
    assert formats.significant(value) == shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.312, "0.31 s"), (0.999, "1.0 s"), (59.96, "1 min 00 s"), (184, "3 min 04 s"), (7500, "2 h 05 min")],
)
def test_seconds(value: float, shown: str) -> None:
    assert formats.seconds(value) == shown


@pytest.mark.parametrize(("value", "shown"), [(512, "512 B"), (412 << 20, "412 MiB"), (1184 << 20, "1.16 GiB")])
def test_size(value: int, shown: str) -> None:
    assert formats.size(value) == shown


@pytest.mark.parametrize(("share", "shown"), [(0.5, "50.0 %"), (0.00001, "< 0.1 %"), (0.0, "0.0 %"), (1.0, "100.0 %")])
def test_percent(share: float, shown: str) -> None:
    assert formats.percent(share) == shown


def test_names() -> None:
    assert formats.name("root_mean_squared_error") == "Root mean squared error"
    assert formats.name("auc") == "AUC"
    assert formats.short_name("root_mean_squared_error") == "RMSE"


def test_round_ticks() -> None:
    assert [s for _, s in Scale(0.0, 1.0).ticks(5)] == ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]
    assert [s for _, s in Scale(0.3, 40.0, logarithmic=True).ticks()] == ["0.5", "1", "2", "5", "10", "20"]
    assert [s for _, s in Scale(-0.6, 0.6).ticks(5)] == ["−0.50", "−0.25", "0.00", "0.25", "0.50"]  # noqa: RUF001


@given(st.lists(finite, min_size=1, max_size=20))
def test_a_scale_shows_all_of_its_values(values: list[float]) -> None:
    scale = Scale.over(values, 0, 100)
    assert scale.low < scale.high
    assert all(0 <= scale(v) <= 100 for v in values)
    assert [scale(v) for v in sorted(values)] == sorted(scale(v) for v in values)
    ticks = scale.ticks(5)
    assert 2 <= len(ticks) <= 12
    assert all(scale.low - 1e-6 * abs(scale.low) <= v <= scale.high + 1e-6 * abs(scale.high) for v, _ in ticks)


def test_a_constant_column_has_no_density() -> None:
    assert density([3.0] * 21, title="") is None
    assert density([0.0, *[1.0] * 19, 2.0], title="") is not None
