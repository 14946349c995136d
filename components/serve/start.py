"""Start of a server: what its options name, found before it listens, and loaded while it answers health checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from headrace.components.serve.config import ServeConfig
from headrace.components.serve.follow import Follower
from headrace.core.progress import Progress
from headrace.core.scoring.online.beside import freeze_imports

if TYPE_CHECKING:
    from headrace.components.serve.app import ServerApp
    from headrace.components.serve.modes.dynamic import Dynamic
    from headrace.components.serve.modes.hybrid import Hybrid
    from headrace.components.serve.modes.static import Static
    from headrace.components.serve.request_log import RequestLog
    from headrace.components.serve.tables.pinned import PinnedTable
    from headrace.components.serve.tables.place import ServedTable
    from headrace.core.saved_model.find import ServableModel
    from headrace.core.scoring.online.current import CurrentModel
    from headrace.core.scoring.online.model import OnlineModel

_SWAPS = "New versions that were switched to, refused by a check, or not read because the platform failed."
_ROWS = "Rows by where their answer came from; unknown ones had a key that is not in the table."


@dataclass(frozen=True)
class ServingTarget:
    """What is served.

    Attributes:
        name: of the model in URLs.
        version: of the model.
        config: of the server, with the mode in which it is served.
        source: the model; None in static mode.
        pinned: the table that a version of an endpoint names; None for others.
    """

    name: str
    version: str
    config: ServeConfig
    source: ServableModel | None = None
    pinned: PinnedTable | None = None


def find(config: ServeConfig) -> ServingTarget:
    """Finds the model, or in static mode the table, without loading either.

    Raises:
        UsageError: there is none, or the mode that the Model's Problem declares needs a table that is not named.
        DataError: a registered model is damaged.
        GateRefused: the registry marks the version as bad.
        PlatformError: a file cannot be read.
    """
    if config.mode == "static":
        return _table(config)
    if config.mode in (None, "dynamic") and not config.source.startswith("projects/"):
        from headrace.components.serve.tables.pinned import is_pinned, read_pinned

        if is_pinned(config.source):
            pinned = read_pinned(config.source)
            return ServingTarget(config.name or pinned.name, pinned.version, config.declared(None), pinned=pinned)
    from headrace.components.serve import models

    source = models.find(models.locate(config), config)
    config = config.declared(source.serving)
    if config.mode == "static":
        return _table(config)
    if config.mode == "hybrid":
        from headrace.components.serve.tables.place import name_and_version

        # A folder without a table is refused before TensorFlow is loaded.
        name_and_version(str(config.table), source.name)
    return ServingTarget(source.name, source.version, config, source)


def _table(config: ServeConfig) -> ServingTarget:
    from headrace.components.serve.tables.place import name_and_version

    return ServingTarget(*name_and_version(str(config.table), config.name), config)


def load(
    found: ServingTarget, app: ServerApp, report: Progress, request_log: RequestLog | None = None
) -> Sequence[Follower[Any]]:
    """Loads what was found, and makes the application answer with it.

    Args:
        found: from `find`.
        app: to answer requests.
        report: receives progress.
        request_log: records rows that the model predicts; answers from a table are not predicted.

    Returns:
        The followers of new versions, which run.

    Raises:
        UsageError: the table and the model do not go together.
        DataError: the model or the table is damaged, or in hybrid mode the model's golden rows are answered otherwise.
        PlatformError: the model's first prediction failed, or a file cannot be read.
    """
    followers: list[Follower[Any]] = []
    config = found.config
    if found.pinned is not None:
        from headrace.components.serve.modes.static import Static

        pinned = _open_table(found.pinned.table, report, found.version)
        answerer = Static(pinned, found.name, count=_counting_rows(app), version=found.version)
        _answer_by(answerer, replace(config, follow_s=None), app, followers)
        return followers
    table = _open_table(str(config.table), report) if config.mode != "dynamic" else None
    if found.source is not None:
        dynamic, current = _load_model(found.source, config, app, report, request_log)
        if config.follow_s is not None:
            from headrace.components.serve import models

            count = _counting(app, "swaps", _SWAPS)
            busy = lambda: app.batcher.running > 0  # noqa: E731 - read in the loading thread
            followers.append(models.ModelFollower(config, current, count=count, busy=busy))
        if table is None:
            app.use(dynamic)
        else:
            _answer_by(_hybrid(found.source, table, dynamic, config, app, report), config, app, followers)
    else:
        from headrace.components.serve.modes.static import Static

        assert table is not None
        _answer_by(Static(table, found.name, count=_counting_rows(app)), config, app, followers)
    for follower in followers:
        follower.start()
    return followers


def _load_model(
    source: ServableModel, config: ServeConfig, app: ServerApp, report: Progress, request_log: RequestLog | None
) -> tuple[Dynamic, CurrentModel[OnlineModel]]:
    report(f"loading {source.name} {source.version}")
    if source.prepared:
        report("requests must hold the columns that prepare of the Problem file returns: it does not run here")
    from headrace.components.serve import models
    from headrace.components.serve.modes.dynamic import Dynamic
    from headrace.core.scoring.online.current import CurrentModel
    from headrace.core.scoring.online.golden import check_golden

    freeze_imports()
    model = models.load(source, config)
    report(f"engine: {model.engine}")
    if model.whole:
        report("the model's rows depend on each other: each request is a call of its own, and none is batched")
    if config.mode == "hybrid":
        # A check over HTTP would get the answers of the table.
        check_golden(model)
    current = CurrentModel(model)
    return Dynamic(current, tell=app.metrics.add, log=request_log), current


def _open_table(uri: str, report: Progress, version: str | None = None) -> ServedTable:
    from headrace.components.serve.tables.place import open_table

    report(f"opening the table at {uri}")
    table = open_table(uri, version)
    report(f"table {table.version}: {len(table.table):,} keys, model version {table.model_version}")
    return table


def _answer_by(answerer: Static | Hybrid, config: ServeConfig, app: ServerApp, followers: list[Follower[Any]]) -> None:
    """Makes the application answer by a table, follow it, and show it in metrics."""
    app.use(answerer)
    app.metrics.gauges |= {
        ("table_age_seconds", "Seconds since the table was published; NaN if that is not known."): lambda: (
            float("nan") if (age := answerer.table.age_s) is None else age
        ),
        ("table_keys", "Keys in the table."): lambda: float(len(answerer.table.table)),
    }
    if config.follow_s is not None:
        from headrace.components.serve.tables.follow import TableFollower

        count = _counting(app, "table_swaps", _SWAPS)
        followers.append(TableFollower(str(config.table), config.follow_s, answerer, count=count))


def _hybrid(
    source: ServableModel, table: ServedTable, dynamic: Dynamic, config: ServeConfig, app: ServerApp, report: Progress
) -> Hybrid:
    from headrace.components.serve.modes.answer_cache import AnswerCache
    from headrace.components.serve.modes.hybrid import Hybrid

    cache = AnswerCache(config.cache_rows) if config.cache_rows else None
    follows = config.follow_s is not None
    hybrid = Hybrid(table, dynamic, cache=cache, same=_same_version(source), follows=follows, count=_counting_rows(app))
    if not hybrid.in_use:
        report(
            f"the table is of version {table.model_version} and the model of {source.version}: the model answers all "
            "rows until a table of its version is published"
        )
    gauges = app.metrics.gauges
    gauges["table_in_use", "1 while the table is of the model's version, 0 while it is not looked up."] = lambda: float(
        hybrid.in_use
    )
    if cache is not None:
        gauges["cached_rows", "Rows in the cache of fresh answers."] = lambda: float(len(cache))
    return hybrid


def _same_version(source: ServableModel) -> Callable[[str, str], bool]:
    """How versions of predictions are compared: a SavedModel without a version has a digest in them."""
    if source.interface is not None:
        return str.__eq__
    from headrace.core.saved_model.digest import saved_model_digest

    digest = saved_model_digest(source.saved_model)
    return lambda scored, _: scored == digest


def _counting(app: ServerApp, name: str, about: str) -> Callable[[str], None]:
    return lambda result: app.metrics.count(name, about, {"result": result})


def _counting_rows(app: ServerApp) -> Callable[[str, int], None]:
    return lambda source, rows: app.metrics.count("rows_by_source", _ROWS, {"source": source}, rows)
