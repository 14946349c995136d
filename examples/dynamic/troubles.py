"""Troubles of the dynamic training example: what is wrong on some days, and how such a day must end."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from headrace.core.ledger.state import LedgerState, RunEnding

MILES_TO_KILOMETRES = 1.609344


@dataclass(frozen=True)
class Trouble:
    """What is wrong on a day.

    Attributes:
        text: for people; "" for a day on which nothing is wrong.
        expected: outcomes of the day's data version that are right.
        deployed: outcome of its deployment; "" where no model may be deployed, None for any.
        change: of the day's flights; None for none.
        steps: of the training; None for the Problem's epochs.
        problem: file of that day.
    """

    text: str = ""
    expected: tuple[str, ...] = ("promoted", "kept")
    deployed: str | None = None
    change: Callable[[pa.Table], pa.Table] | None = None
    steps: int | None = None
    problem: str = "flights.py"


def without_distance(flights: pa.Table) -> pa.Table:
    """A day of which a column was renamed at the source."""
    return flights.rename_columns(["dist" if name == "distance" else name for name in flights.column_names])


def with_bad_rows(flights: pa.Table) -> pa.Table:
    """A day on which every 33rd flight took no time."""
    bad = pa.array([at % 33 == 0 for at in range(flights.num_rows)])
    return _with(flights, "air_time", pc.if_else(bad, -1, flights["air_time"]))


def in_kilometres(flights: pa.Table) -> pa.Table:
    """A day on which all distances are in another unit."""
    return _with(
        flights, "distance", pc.cast(pc.multiply(flights["distance"], MILES_TO_KILOMETRES), pa.int64(), safe=False)
    )


# By day of January.
TROUBLES: Mapping[int, Trouble] = {
    6: Trouble("the column distance is missing: the span is quarantined", ("quarantined",), "", without_distance),
    7: Trouble("3 % of the rows are wrong: they are quarantined", change=with_bad_rows),
    8: Trouble("all distances are in kilometres: an alarm", change=in_kilometres),
    9: Trouble("a training of two steps: the challenger is refused", ("kept",), "", steps=2),
    11: Trouble(
        "a model that is as good, and slow: the canary is rolled back", ("kept",), "rolled back", problem="slower.py"
    ),
}


@dataclass(frozen=True)
class Ended:
    """What became of a day's data.

    Attributes:
        outcomes: of its data versions.
        deployed: of the deployment; "" where no run reached one.
        marked: whether the version that was deployed is marked as bad.
        quarantined: rows of the window that are in quarantine.
    """

    outcomes: tuple[str, ...]
    deployed: str
    marked: bool
    quarantined: int

    @staticmethod
    def of(endings: Sequence[RunEnding], state: LedgerState, summaries: Sequence[Mapping[str, Any]]) -> Ended:
        """From the runs that ended, the ledger after them, and their summaries."""
        results = {step["step"]: step["result"] for summary in summaries for step in summary["steps"]}
        return Ended(
            tuple(sorted({state.done[version].outcome for ending in endings for version in ending.versions})),
            str(results.get("deploy", {}).get("outcome", "")),
            any(ending.model in state.bad for ending in endings),
            int(results.get("ingest", {}).get("rows_quarantined", 0)),
        )

    def faults(self, trouble: Trouble, bad_rows: int) -> list[str]:
        """What is not as it should be.

        Args:
            trouble: of the day.
            bad_rows: of its span.
        """
        found = []
        if not self.outcomes or not set(self.outcomes) <= set(trouble.expected):
            found.append(f"expected {' or '.join(trouble.expected)}, received {', '.join(self.outcomes) or 'nothing'}")
        if trouble.deployed is not None and self.deployed != trouble.deployed:
            wanted = trouble.deployed or "no deployment"
            found.append(f"expected {wanted}, received {self.deployed or 'no deployment'}")
        if self.marked != (self.deployed == "rolled back"):
            found.append(f"the version is {'' if self.marked else 'not '}marked as bad")
        if self.quarantined < bad_rows:
            found.append(f"expected {bad_rows} rows in quarantine, received {self.quarantined}")
        return found


def _with(flights: pa.Table, name: str, values: Any) -> pa.Table:
    return flights.set_column(flights.column_names.index(name), name, values)
