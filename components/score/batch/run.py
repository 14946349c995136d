"""Batch scoring with a local model, by part: in this process, or in the workers of a Beam runner."""

from __future__ import annotations

import contextlib
import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence

from headrace.components.score.batch.complete import ScoringFacts, answer_form, publishable
from headrace.components.score.batch.part_result import (
    PartResult,
    ScorerSource,
    Scores,
    ScoringContext,
    ScoringModel,
    metrics_of,
)
from headrace.components.score.batch.score_part import columns_of, score_part
from headrace.components.score.batch.training_facts import TrainingFacts
from headrace.components.score.batch.whole import READ_ROWS, WholeSource, whole_input
from headrace.components.score.config import ScoreConfig, ScoreResult
from headrace.components.score.sinks.factory import sink_of
from headrace.core import storage
from headrace.core.artifacts import set_aside
from headrace.core.artifacts.budget import left_out
from headrace.core.artifacts.kinds import PREDICTIONS
from headrace.core.artifacts.predictions import PredictionsManifest
from headrace.core.beam.counters import format_counters, quarantined
from headrace.core.beam.runners import DirectRunner
from headrace.core.beam.staging import staging
from headrace.core.errors import UnreadableFile, UsageError
from headrace.core.prediction_table.layout import TableDescription
from headrace.core.progress import Progress, silent
from headrace.core.rows.prepare import Prepare
from headrace.core.rules.counts import RuleCounts
from headrace.core.saved_model.interface import ModelOutput
from headrace.core.sources.open import data_version as measure_version
from headrace.core.sources.open import list_parts, list_paths
from headrace.core.sources.source import Part

_UNITS = {
    "rows": ("row read", "rows read"),
    "batches": ("batch", "batches"),
    "predictions": ("prediction", "predictions"),
    "bytes": ("byte", "bytes"),
}


def score(
    config: ScoreConfig,
    report: Progress = silent,
    *,
    source: ScorerSource | None = None,
    approach: str = "direct",
    notes: Sequence[str] = (),
    rows: int | None = None,
) -> ScoreResult:
    """Scores rows to a Predictions artifact, which is written atomically to `config.output`.

    The same rows, model and sink give the same files with the same bytes, on any runner, with any retries.

    Args:
        config: model, input, output and options.
        report: called with the number of rows scored.
        source: source of each process's scorer; by default it loads `config.model`.
        approach: execution mode, for the manifest.
        notes: further remarks for the manifest.
        rows: the expected number of rows, if known.

    Raises:
        DataError: there are no rows, a column is missing, too many files are damaged, the number of rows is not `rows`,
            or the quarantine budget is exceeded.
        UsageError: the model does not exist, or the output cannot be written.
        PlatformError: the disk, the service or the model failed.
    """
    config.check_output()
    set_aside.clear(config.output)
    paths = list_paths(config.data)
    source = source or model_of(config)
    scorer = source.load()
    parts = parts_of(config, paths, scorer)
    if parts and parts[0].prepare is not None:
        report("prepare of the Model's problem.py runs on every row", lasting=True)
    batch_rows = config.batch_rows
    if config.batch == "whole":
        source = WholeSource(whole_input(model_of(config), parts, config.partition_by))
        scorer, batch_rows = source.load(), READ_ROWS
    report(f"checked {len(paths)} {'file' if len(paths) == 1 else 'files'}")
    data_version = config.data_version or measure_version(paths, config.csv)
    learned = TrainingFacts.read(config.model)
    key = scorer.takes.key
    form = answer_form(scorer.takes, key)
    about = None
    if form is not None:
        about = TableDescription(
            form.key, scorer.model_version, config.identity, form.returns_key, learned.problem, data_version
        )
    sink = sink_of(config.sink, key=key, table=config.table, form=form, about=about)
    sink.check()
    _check_nested(config, scorer.takes.outputs)
    with staging(config.output, PREDICTIONS, config.identity, config.runner or DirectRunner()) as folder:
        context = ScoringContext(
            scorer=source,
            sink=sink,
            folder=folder,
            partition_by=config.partition_by,
            batch_rows=batch_rows,
            scoring_threads=config.scoring_threads,
            shows_progress=config.runner is not None and config.runner.local,
        )
        results, metrics = _run(config, context, parts, scorer, report)
        manifest = publishable(
            ScoringFacts(
                config,
                context,
                parts,
                results,
                learned,
                scorer.model_version,
                key,
                data_version,
                approach,
                tuple(notes),
                rows,
                scorer.takes,
            )
        )
        storage.remove(context.work)
        manifest.write(folder)
    report(format_counters(metrics, _UNITS))
    if manifest.files_quarantined:
        report(left_out([(file.file, file.message) for file in manifest.files_quarantined]), lasting=True)
    for column in _never_learned(manifest):
        report(
            f'warning: no value of "{column}" is one that the model learned: are they spelled as in the training data?',
            lasting=True,
        )
    report(f"wrote {manifest.rows_out:,} predictions", done=manifest.rows_in, total=manifest.rows_in)
    return ScoreResult(
        identity=manifest.identity,
        model_version=manifest.model_version,
        rows_in=manifest.rows_in,
        rows_out=manifest.rows_out,
        rows_quarantined=manifest.rows_quarantined,
        reasons=manifest.quarantine.reasons,
        files=len(manifest.files),
        destination=manifest.destination,
        metrics=metrics,
        rules=RuleCounts.from_json(manifest.rules or {}),
    )


def parts_of(config: ScoreConfig, paths: Sequence[str], scorer: Scores) -> list[Part]:
    """The parts of the input, after a check that all readable files have the required columns."""
    columns: list[str] | None = None
    prepare = Prepare.of_model(config.model)
    for path in paths:
        # The error of a damaged file occurs again when its part is scored.
        with contextlib.suppress(UnreadableFile):
            columns = columns_of(Part(0, path, csv=config.csv, prepare=prepare), scorer, config.partition_by)
    # A single path may be the table of a query's result: the query must not run twice.
    data = paths[0] if len(paths) == 1 else config.data
    parts = list_parts(data, csv=config.csv, columns=columns)
    return parts if prepare is None else [dataclasses.replace(part, prepare=prepare) for part in parts]


def _run(
    config: ScoreConfig, context: ScoringContext, parts: Sequence[Part], scorer: Scores, report: Progress
) -> tuple[list[PartResult], Mapping[str, int]]:
    """The results of the parts, up to one that ends the work, and the counters."""
    if config.runner is not None:
        from headrace.components.score.batch.beam_job import run_parts

        return run_parts(config, context, parts, report)
    results: list[PartResult] = []
    done = 0

    def tell(rows: int) -> None:
        report(f"{done + rows:,} rows read", done=done + rows)

    batcher = context.batcher()
    for part in parts:
        result = score_part(context, part, scorer, batcher, tell)
        results.append(result)
        done += result.rows
        if result.error is not None and result.error["kind"] != UnreadableFile.__name__:
            break
    reasons: Counter[str] = Counter()
    for result in results:
        reasons.update(result.reasons)
    return results, {**metrics_of(results), **quarantined(reasons)}


def model_of(config: ScoreConfig) -> ScoringModel:
    """The model of a configuration."""
    return ScoringModel.of(
        config.model,
        signature=config.signature,
        key=config.key,
        inputs=config.inputs,
        optional=config.optional,
        constants=config.constants,
        whole=config.batch == "whole",
        intra_op_threads=config.intra_op_threads or None,
        rules=config.rules,
    )


def _never_learned(manifest: PredictionsManifest) -> list[str]:
    """The columns of which every predicted row has an unknown category."""
    unknown = ((manifest.rules or {}).get("predicted") or {}).get("unknown_value") or {}
    return [column for column, count in unknown.items() if count == manifest.rows_out > 0]


def _check_nested(config: ScoreConfig, outputs: Sequence[ModelOutput]) -> None:
    """Checks that the output format has arrays of arrays, if the model's outputs are.

    Raises:
        UsageError: it has not.
    """
    for given in outputs:
        if given.dims and config.sink == "bigquery":
            raise UsageError(
                "BigQuery has no arrays of arrays",
                where=f"the model's output {given.name}",
                expected="one value or one list per row",
                received=f"{given.dtype} {given.shape}",
                fix="Write Parquet or JSON lines (--sink)",
            )
