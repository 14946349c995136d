"""Examples of a window: a manifest of shards that stay in the folder of spans, with merged statistics."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from headrace.components.ingest.catalog import SpanVersion
from headrace.components.ingest.merged import Leaf, merged_statistics
from headrace.components.preprocess.append.merge import combined
from headrace.components.preprocess.append_index import STATISTICS
from headrace.components.preprocess.complete import check_splits
from headrace.core import storage
from headrace.core.artifacts.examples import Manifest, NewestSpan, Schema, Split
from headrace.core.artifacts.kinds import EXAMPLES
from headrace.core.artifacts.missing import is_there
from headrace.core.problem import Problem
from headrace.core.statistics.weighted import WeightedLabel
from headrace.core.steps.step import identity
from headrace.core.storage.output import publishing


def write_window(
    problem: Problem,
    folder: str,
    versions: Sequence[SpanVersion],
    output: str,
    catalog: str,
    half_life: float = 0.0,
    scale: Mapping[str, int] = MappingProxyType({}),
) -> Manifest:
    """Writes the Examples of a window, atomically.

    The same spans give the same bytes. No shard is read or copied.

    Args:
        problem: the Problem of the spans.
        folder: URI of the folder of all spans.
        versions: the spans of the window, oldest first: one or more, all accepted.
        output: URI of the Examples.
        catalog: URI of the catalog, for an error.
        half_life: number of spans after which the weight of a row is halved; 0 for equal weights.
        scale: exponents of the spans' numbers, by column.

    Returns:
        The manifest of the window.

    Raises:
        DataError: a split of the window has no rows, a column has no value, or a file of a span is damaged.
        UsageError: the output cannot be written, or contains something else.
        PlatformError: the disk or the service failed.
    """
    place = folder if storage.is_remote(folder) else str(storage.resolve(folder))
    manifests = [version.examples(catalog) for version in versions]
    digest, problem = problem.schema_digest, problem.with_exponents(scale)
    merged = combined(
        problem,
        [(version.span, version.folder, manifest) for version, manifest in zip(versions, manifests, strict=True)],
        identity=identity(
            "window",
            spans=[[v.span, v.key] for v in versions],
            problem=digest,
            **({"half_life": half_life} if half_life else {}),
            **({"scale": dict(scale)} if scale else {}),
        ),
        schema_digest=digest,
    )
    leaves = [
        Leaf(version.span, version.key, storage.join(place, version.folder), manifest)
        for version, manifest in zip(versions, manifests, strict=True)
        if any(sketch.file == STATISTICS for sketch in manifest.sketches)
    ]
    measured = merged_statistics(place, leaves)
    statistics = None if measured is None else measured.to_json(problem.quantile_buckets)
    check_splits(problem, output, merged.splits, statistics)
    weights: dict[str, float] = {}
    if half_life and statistics is not None:
        weights = {v.span: 0.5 ** (age / half_life) for age, v in enumerate(reversed(versions))}
        statistics["columns"][problem.label.name]["weighted"] = _weighted(problem.label.name, versions, weights)
    # Every span has its own split boundaries if the splits are fractions in time.
    merged = dataclasses.replace(merged, files_in=place, newest=_newest(versions, merged), span_weights=weights)
    with publishing(output, EXAMPLES) as temporary:
        storage.write_json(str(temporary / "schema.json"), Schema.of(problem).to_json())
        storage.write_json(str(temporary / "statistics.json"), statistics)
        merged.write(str(temporary))
    return merged


def remove_window(output: str) -> None:
    """Leaves an empty folder where a window was; anything else stays.

    Raises:
        UsageError: the output cannot be written, or contains something else.
        PlatformError: the disk or the service failed.
    """
    if is_there("Examples", output):
        with publishing(output, EXAMPLES):
            pass


def _weighted(label: str, versions: Sequence[SpanVersion], weights: Mapping[str, float]) -> dict[str, Any]:
    """The entry "weighted" of the label's statistics, from the statistics of the spans."""
    parts = [WeightedLabel.of_entry(label, v.label, weights[v.span]) for v in versions if v.label is not None]
    return functools.reduce(WeightedLabel.merge, parts).to_json()


def _newest(versions: Sequence[SpanVersion], window: Manifest) -> NewestSpan | None:
    rows = {span.span: span.rows_out for span in window.spans}
    for version in reversed(versions):
        if rows[version.span]:
            test = window.splits["test"].shards
            shards = tuple(shard for shard in test if shard.file.startswith(f"{version.folder}/"))
            return NewestSpan(version.span, Split(sum(shard.rows for shard in shards), shards))
    return None
