"""Lineage of spans: what a training starts from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from support.registered_models import make_model

from headrace.components.ingest.catalog import SpanVersion
from headrace.components.lineage.lineage import Lineage, SeenSpans, Start
from headrace.components.registry.folder.registry import Registry
from headrace.core.errors import DataError

SCHEMA = "s" * 16
DAYS = tuple(f"2026-01-{number:02d}" for number in range(1, 12))


class Models:
    """A registry of versions, each trained on some days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = Registry(str(folder / "registry"))
        self.catalog = {f"key-{day}": _span(day) for day in DAYS}

    @property
    def lineage(self) -> Lineage:
        return Lineage(str(self.folder / "ledger"), self.registry)

    def add(self, version: str, days: Sequence[str], parent: str | None = None, schema: str = SCHEMA) -> None:
        model = make_model(self.folder / version, version, problem="days", data=f"data-{version}", parent=parent)
        self.registry.register(model)
        self.lineage.add(f"data-{version}", SeenSpans(schema, {day: f"key-{day}" for day in days}), parent or "")

    def quarantine(self, day: str) -> None:
        self.catalog[f"key-{day}"] = _span(day, "quarantined")

    def start(self, **options: Any) -> Start:
        given = {"schema": SCHEMA, "catalog": self.catalog, "withdrawn": (), "until": 1000}
        return self.lineage.start(**{**given, **options})


def _span(day: str, verdict: Any = "accepted") -> SpanVersion:
    return SpanVersion(day, f"{day}.csv", day, "", f"version of {day}", (), SCHEMA, verdict=verdict)


@pytest.fixture
def models(tmp_path: Path) -> Models:
    return Models(tmp_path)


@pytest.fixture
def three(models: Models) -> Models:
    models.add("v1", DAYS[:1])
    models.add("v2", DAYS[:2], parent="v1")
    models.add("v3", DAYS[1:3], parent="v2")
    return models


def test_the_first_version_starts_from_scratch(models: Models) -> None:
    assert models.start() == Start("", "", "from scratch: no earlier version exists")


def test_the_last_version(three: Models) -> None:
    assert three.start() == Start("v3", three.registry.path("v3"), "warm start from v3")
    seen = three.lineage.seen("v3")
    assert seen is not None
    assert (list(seen.spans), list(seen.inherited.values()), seen.chain) == ([*DAYS[1:3]], [*DAYS[:2]], ("v2", "v1"))


@pytest.mark.parametrize(
    ("day", "start", "why"),
    [
        # v3 was not trained on the first day, but its parents were.
        (0, "", "from scratch: version v3 saw span 2026-01-01, which is quarantined now"),
        (1, "v1", "warm start from v1"),
        (2, "v2", "warm start from v2"),
        (3, "v3", "warm start from v3"),
    ],
)
def test_a_span_that_is_quarantined_since(three: Models, day: int, start: str, why: str) -> None:
    three.quarantine(DAYS[day])
    found = three.start()
    assert (found.version, found.why) == (start, why)


@pytest.mark.parametrize("withdrawn", [DAYS[2], f"version of {DAYS[2]}"])
def test_a_span_that_is_withdrawn(three: Models, withdrawn: str) -> None:
    assert three.start(withdrawn=[withdrawn]).version == "v2"
    faults = [three.lineage.fault(version, SCHEMA, three.catalog, [withdrawn]) for version in ("v1", "v2", "v3")]
    assert faults == [None, None, f"version v3 saw span {DAYS[2]}, which is withdrawn now"]


def test_a_bad_version_and_all_that_descend_from_it(three: Models) -> None:
    three.registry.mark_bad("v2")
    assert three.start().version == "v1"
    three.registry.restore("v2")
    assert three.start().version == "v3"
    three.registry.archive("v3")
    assert three.start().version == "v2"


def test_another_schema(three: Models) -> None:
    assert three.start(schema="t" * 16).why == "from scratch: the schema changed since version v3"
    three.add("v4", DAYS[:3], schema="t" * 16)
    assert three.start(schema="t" * 16).version == "v4"
    assert three.start().version == "v3"


def test_another_model_starts_from_scratch(models: Models) -> None:
    for version, training in (("v1", "a"), ("v2", "b")):
        models.registry.register(make_model(models.folder / version, version, problem="days", data=f"data-{version}"))
        models.lineage.add(f"data-{version}", SeenSpans(SCHEMA, {DAYS[0]: f"key-{DAYS[0]}"}, training=training))
    assert [models.start(training=training).version for training in ("", "a", "b")] == ["v2", "v1", "v2"]
    assert models.start(training="c").why == "from scratch: the Problem's model or training changed since version v2"


def test_every_third_from_scratch(three: Models) -> None:
    assert (
        three.start(from_scratch_every=3).why == "from scratch: the last 3 versions were warm started from one another"
    )
    assert three.start(from_scratch_every=4).version == "v3"
    assert three.start(from_scratch_every=1).version == ""


def test_versions_of_this_runs_earlier_attempts_are_left_out(three: Models) -> None:
    assert three.start(until=2).version == "v2"
    assert three.start(until=0).version == ""


def test_a_version_whose_spans_are_not_known(three: Models) -> None:
    three.registry.register(make_model(three.folder / "v4", "v4", problem="days", data="static", parent=None))
    assert three.lineage.seen("v4") is None
    assert three.start().version == "v3"


def test_spans_that_the_champion_has_not_seen(models: Models) -> None:
    models.add("v1", DAYS[2:9])
    lineage = models.lineage
    assert lineage.newer("v1", DAYS) == 2
    assert lineage.newer("v1", DAYS[:4]) == 0
    assert lineage.newer("unknown", DAYS[:4]) == 4


def test_a_record_is_never_changed(models: Models) -> None:
    models.lineage.add("data", SeenSpans(SCHEMA, {"a": "1"}))
    models.lineage.add("data", SeenSpans(SCHEMA, {"a": "2"}))
    assert '"a": "1"' in (models.folder / "ledger" / "lineage" / "data-scratch.json").read_text()
    # From other weights it is another version.
    with pytest.raises(DataError, match="the lineage of a version is not known"):
        models.lineage.add("data", SeenSpans(SCHEMA, {"a": "1"}), "v1")


def test_a_damaged_record(three: Models) -> None:
    (three.folder / "ledger" / "lineage" / "data-v3-v2.json").write_text('{"format": 9}')
    with pytest.raises(DataError, match="the lineage of a version is damaged"):
        three.start()
