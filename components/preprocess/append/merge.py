"""Merge of Examples: combines spans into one artifact, and appended rows with their Examples."""

from __future__ import annotations

import dataclasses
import hashlib
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from headrace.components.preprocess.append.corrections import new_rows, origins, take_out
from headrace.components.preprocess.append_index import STATISTICS, complete, keep, kept_statistics, merge_kept
from headrace.components.preprocess.complete import check_splits
from headrace.components.preprocess.pipeline import PreprocessConfig
from headrace.components.preprocess.stage_context import rows_per_batch
from headrace.core import storage
from headrace.core.artifacts.budget import budget_table
from headrace.core.artifacts.examples import (
    SPLITS,
    AppendRecord,
    Manifest,
    Quarantine,
    Schema,
    Shard,
    Sketch,
    Span,
    Split,
)
from headrace.core.errors import DataError
from headrace.core.problem import Problem
from headrace.core.statistics.file import to_bytes
from headrace.core.statistics.measure import merge_all
from headrace.core.steps.step import identity
from headrace.core.text import counted


def merge_spans(problem: Problem, folder: Path, where: str) -> Manifest:
    """Writes schema, statistics and, last, the manifest of Examples made of spans.

    Args:
        problem: of the Examples.
        folder: a copy of them, which is changed in place.
        where: their URI, for errors.

    Raises:
        DataError: a split has no rows, or a column of the train split no value; or a file of a span is damaged.
    """
    first = next(iter(sorted((folder / "spans").glob("*/schema.json"))))
    digest = problem.schema_digest
    problem = problem.with_exponents(Schema.read(str(first.parent)).exponents)
    spans = completed(problem, folder)
    statistics = merge_all([kept_statistics(place, manifest) for place, manifest in spans.items()])
    every = [(Path(place).name, f"spans/{Path(place).name}", manifest) for place, manifest in spans.items()]
    merged = combined(
        problem,
        every,
        identity=identity("preprocess spans", spans=[[name, manifest.identity] for name, _, manifest in every]),
        schema_digest=digest,
        sketches=(keep(str(folder), STATISTICS, to_bytes(statistics)),),
    )
    check_splits(problem, where, merged.splits, statistics.to_json())
    storage.write_json(str(folder / "schema.json"), Schema.of(problem).to_json())
    storage.write_json(str(folder / "statistics.json"), statistics.to_json(problem.quantile_buckets))
    merged.write(str(folder))
    return merged


def combined(
    problem: Problem,
    spans: Sequence[tuple[str, str, Manifest]],
    *,
    identity: str,
    sketches: tuple[Sketch, ...] = (),
    schema_digest: str = "",
) -> Manifest:
    """The manifest of Examples made of spans.

    Args:
        problem: of the Examples.
        spans: name, folder and manifest of each span, in order. Paths in the new manifest begin with the folder.
        identity: of the Examples.
        sketches: of the Examples.
        schema_digest: of the Problem as it was declared; "" if `problem` is that.
    """
    reasons: Counter[str] = Counter()
    for _, _, manifest in spans:
        reasons.update(manifest.quarantine.reasons)
    return Manifest(
        identity=identity,
        problem=problem.name,
        schema_digest=schema_digest or problem.schema_digest,
        data_version=_digest(f"{name} {manifest.data_version}" for name, _, manifest in spans),
        source=tuple(source for _, _, manifest in spans for source in manifest.source),
        rows_in=sum(manifest.rows_in for _, _, manifest in spans),
        rows_out=sum(manifest.rows_out for _, _, manifest in spans),
        rows_quarantined=sum(manifest.rows_quarantined for _, _, manifest in spans),
        splits={
            split: _split(shard for _, folder, m in spans for shard in moved(m.splits[split].shards, folder))
            for split in SPLITS
        },
        quarantine=Quarantine(
            problem.quarantine_budget,
            dict(sorted(reasons.items())),
            tuple(f"{folder}/{file}" for _, folder, manifest in spans for file in manifest.quarantine.files),
        ),
        spans=tuple(
            Span(name, m.identity, m.data_version, m.rows_in, m.rows_out, m.rows_quarantined) for name, _, m in spans
        ),
        files_quarantined=tuple(file for _, _, manifest in spans for file in manifest.files_quarantined),
        sketches=sketches,
        boundaries=problem.splits.boundaries,
    )


def completed(problem: Problem, folder: Path) -> dict[str, Manifest]:
    """The manifests of all spans, in order, by their folders; missing sketches are computed and stored."""
    names = [place.parent.name for place in (folder / "spans").glob("*/manifest.json")]
    names.sort(key=lambda name: (len(name), name))
    return {str(folder / "spans" / name): complete(problem, folder / "spans" / name) for name in names}


def place_of(base: Manifest) -> str:
    """The subfolder for the next appended rows."""
    return f"appended/{len(base.appended) + 1:05d}"


def merge_appended(
    problem: Problem, config: PreprocessConfig, folder: Path, base: Manifest, added: Manifest
) -> Manifest:
    """Merges appended Examples with those in `folder`, a copy that is changed in place.

    Args:
        problem: with the quarantine budget for all rows.
        config: the source of the rows, and the URI of the Examples.
        folder: the Examples; the appended ones are in the folder of `place_of`.
        base: the manifest of the Examples.
        added: the complete manifest of the appended ones.

    Raises:
        DataError: all rows together exceed the quarantine budget.
    """
    name = place_of(base)
    place = folder / name
    known = origins(config.data, config.batch_rows or rows_per_batch(1), config.csv)
    files, removed, corrected = take_out(folder, base, known)
    reasons = Counter(base.quarantine.reasons) + Counter(added.quarantine.reasons)
    reasons.subtract(removed)
    rows_in = base.rows_in + added.rows_in - sum(corrected.values())
    quarantined = reasons.total()
    if quarantined > problem.quarantine_budget * rows_in:
        raise DataError(
            "the quarantine budget is spent",
            where=config.output,
            expected=f"at most {100 * problem.quarantine_budget:g} % of all {counted(rows_in, 'row')} to break a rule",
            received=f"{quarantined:,}",
            fix="Correct the rows, or raise quarantine_budget in the Problem file",
            table=budget_table(+reasons, rows_in, problem.quarantine_budget),
        )
    statistics, sketches = merge_kept(folder, base, place, added)
    merged = dataclasses.replace(
        base,
        identity=identity("preprocess append", base=base.identity, added=added.identity),
        source=(*base.source, *new_rows(added.source, corrected)),
        rows_in=rows_in,
        rows_out=base.rows_out + added.rows_out,
        rows_quarantined=quarantined,
        splits={
            split: _split([*base.splits[split].shards, *moved(added.splits[split].shards, name)]) for split in SPLITS
        },
        quarantine=Quarantine(
            base.quarantine.budget,
            dict(sorted((+reasons).items())),
            (*files, *(f"{name}/{file}" for file in added.quarantine.files)),
        ),
        appended=(*base.appended, AppendRecord(added.data_version, added.rows_in, sum(corrected.values()))),
        files_quarantined=(*base.files_quarantined, *added.files_quarantined),
        sketches=tuple(sketches),
    )
    for leftover in ("manifest.json", "schema.json", "statistics.json"):
        (place / leftover).unlink()
    shutil.rmtree(place / "sketches")
    for split in added.splits.values():
        for shard in split.shards:
            if not shard.rows:
                (place / shard.file).unlink()
    storage.write_json(str(folder / "statistics.json"), statistics.to_json(problem.quantile_buckets))
    merged.write(str(folder))
    return merged


def moved(shards: Iterable[Shard], folder: str) -> list[Shard]:
    """The shards with rows, with paths relative to the parent folder."""
    return [dataclasses.replace(shard, file=f"{folder}/{shard.file}") for shard in shards if shard.rows]


def _split(shards: Iterable[Shard]) -> Split:
    every = tuple(shards)
    return Split(sum(shard.rows for shard in every), every)


def _digest(lines: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
