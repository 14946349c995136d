"""Text of a forecast: the measurements, a table of machines, and the assumptions."""

from __future__ import annotations

from collections.abc import Callable

from headrace.components.train.devices.hardware import Hardware
from headrace.components.train.loop.budget import duration
from headrace.pipelines.advisor.forecast import Estimate, Range, TrainingPlan

_HEADER = ("machine", "per hour", "steps/s", "time", "cost", "speed", "")
_ASSUMPTIONS = (
    "Measured: the first line. Extrapolated: all others, from the time of a step here, by the ratios of cores and of "
    "peak operations and memory bandwidth. The better end of a range reaches these peaks in full; the other end "
    "reaches a tenth of them, or gains nothing from further cores and accelerators, since small steps cannot use "
    "them. An accelerator's step takes at least 0.3 to 2 ms. Input scales with cores. The batch size does not change. "
    "Startup and export are not included. "
    "No other machine was measured: run --plan on the one you choose."
)


def text(plan: TrainingPlan) -> str:
    """The measurements, the training, the table of machines, and the assumptions, as lines of text."""
    measured, course, here = plan.measured, plan.course, plan.estimates[0]
    batch = measured.batch_size
    found = (
        f"Measured here ({_machine(plan.hardware)}): {measured.steps} steps of {batch:,} rows, "
        f"{_rate(1 / measured.step_seconds)} steps/s, {batch / measured.step_seconds:,.0f} rows/s; "
        f"{measured.waited_share:.0%} of the time waiting for input, which alone reads "
        f"{batch / measured.input_seconds:,.0f} rows/s; an evaluation takes {duration(measured.evaluation_seconds)}."
    )
    whole = (
        f"The whole training is {course.total:,} steps and {course.evaluations_after(0)} evaluations at most: early "
        "stopping may end it earlier."
    )
    if len(plan.estimates) > 1:
        assumptions = _ASSUMPTIONS
    else:
        assumptions = f"Nothing is extrapolated: the price table has no peak figures of {plan.hardware.accelerator}."
    rows = [_HEADER, *(_row(estimate, here, plan.table.currency) for estimate in plan.estimates)]
    prices = f"Prices: {plan.table.currency}, {plan.table.date}. {plan.table.source}."
    if here.price_per_hour is None:
        prices += " For the cost on this machine set --machine-type or --price-per-hour."
    return "\n".join([found, whole, "", *_aligned(rows), "", assumptions, prices])


def _machine(hardware: Hardware) -> str:
    accelerators = f"{len(hardware.devices)} x {hardware.accelerator}, " if hardware.devices else ""
    return f"{accelerators}{hardware.cores} cores"


def _row(estimate: Estimate, here: Estimate, currency: str) -> tuple[str, ...]:
    best, worst = estimate.step_seconds
    cost, price, step = estimate.cost, estimate.price_per_hour, here.step_seconds[0]
    return (
        estimate.machine,
        "?" if price is None else f"{price:.2f}",
        _between((1 / worst, 1 / best), _rate),
        _between(estimate.seconds, duration),
        "?" if cost is None else f"{_between(cost, _money)} {currency}",
        _between((step / worst, step / best), lambda value: f"{value:.2g}x"),
        "measured" if estimate.measured else "extrapolated",
    )


def _rate(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _money(value: float) -> str:
    return f"{value:,.2f}" if value >= 1 else f"{value:.2g}"


def _between(values: Range, say: Callable[[float], str]) -> str:
    low, high = (say(value) for value in values)
    return low if low == high else f"{low} to {high}"


def _aligned(rows: list[tuple[str, ...]]) -> list[str]:
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
