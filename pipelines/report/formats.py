"""Number, time and name formats of the report."""

from __future__ import annotations

import math
from datetime import UTC, datetime

_NAMES = {
    "auc": "AUC",
    "auc_pr": "AUC (precision-recall)",
    "f1_score": "F1 score",
    "macro_f1_score": "Macro F1 score",
    "r_squared": "R²",
}
_SHORT_NAMES = {
    "root_mean_squared_error": "RMSE",
    "mean_squared_error": "MSE",
    "mean_absolute_error": "MAE",
    "mean_bias": "Bias",
    "r_squared": "R²",
    "auc": "AUC",
    "auc_pr": "AUC-PR",
    "f1_score": "F1",
    "macro_f1_score": "Macro F1",
}
_BINARY_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")
ABSENT = "–"  # noqa: RUF001


def name(metric: str) -> str:
    """Formats the name of a metric, feature or reason: "root_mean_squared_error" -> "Root mean squared error"."""
    words = metric.replace("_", " ").strip()
    return _NAMES.get(metric, words[:1].upper() + words[1:])


def short_name(metric: str) -> str:
    """A metric's usual abbreviation, or its formatted name where it has none."""
    return _SHORT_NAMES.get(metric, name(metric))


def count(value: float | None) -> str:
    """A whole number with thousands separated by commas."""
    return ABSENT if value is None else f"{value:,.0f}"


def significant(value: float | None, digits: int = 4) -> str:
    """A number with significant digits, without an exponent where it is readable."""
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    magnitude = math.floor(math.log10(abs(value)))
    if magnitude < -4 or magnitude > 9:
        return f"{value:.{digits - 1}e}".replace("-", "−")  # noqa: RUF001
    decimals = max(0, digits - 1 - magnitude)
    return f"{value:,.{decimals}f}".replace("-", "−")  # noqa: RUF001


def plain(value: float | None, digits: int = 4) -> str:
    """As `significant`, without trailing zeros: for bounds and other numbers that users chose."""
    shown = significant(value, digits)
    return shown.rstrip("0").rstrip(".") if "." in shown and "e" not in shown else shown


def percent(share: float | None, decimals: int = 1) -> str:
    """A fraction as a percentage."""
    if share is None:
        return ABSENT
    if 0 < share < 0.5 * 10 ** -(decimals + 2):
        return f"< {10**-decimals:.{decimals}f} %"
    return f"{100 * share:.{decimals}f} %".replace("-", "−")  # noqa: RUF001


def seconds(value: float | None) -> str:
    """A duration: "0.42 s", "12.3 s", "3 min 04 s", "2 h 05 min"."""
    if value is None:
        return ABSENT
    if value < 0.995:
        return f"{value:.2f} s"
    if value < 59.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def size(value: float | None) -> str:
    """A number of bytes in binary units, to three significant digits."""
    if value is None:
        return ABSENT
    unit = 0
    while abs(value) >= 1024 and unit < len(_BINARY_UNITS) - 1:
        value /= 1024
        unit += 1
    return f"{plain(value, 3) if unit else count(value)} {_BINARY_UNITS[unit]}"


def moment(epoch: float | None) -> str:
    """A time in seconds since 1970 as a date and a time in UTC."""
    if epoch is None:
        return ABSENT
    try:
        return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, OSError, ValueError):
        return ABSENT
