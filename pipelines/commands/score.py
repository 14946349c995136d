"""`headrace score`: scores many rows, without a pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import click

from headrace.core.errors import UsageError
from headrace.core.text import counted
from headrace.pipelines.commands import options, score_options
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.run_argument import MODEL

_NOBODY = "0" * 16
_NOWHERE = "-"


@click.command(cls=GroupedCommand)
@click.option(
    "--model",
    default="",
    type=MODEL,
    metavar="DIR_OR_RUN",
    help="Model, endpoint folder or any SavedModel, local, on gs:// or s3://; or a run.",
)
@click.option("--describe-model", "describe", is_flag=True, help="Show the inputs and outputs of the model, and exit.")
@json_option
@click.option(
    "--data", default="", metavar="PATH", help="Rows: a file, folder or glob, gs://..., s3://... or bigquery://..."
)
@click.option("--output", default="", metavar="DIR", help="Folder of the Predictions, written atomically.")
@score_options.approach
@score_options.sink
@score_options.table
@score_options.partition_by
@option("--signature", default="serving_default", show_default=True, rare=True, help="Signature of the SavedModel.")
@click.option("--key", default=None, metavar="COLUMN", help="Column that identifies a row (default: the Model's).")
@click.option(
    "--input",
    "inputs",
    multiple=True,
    metavar="INPUT=COLUMN[,COLUMN...]",
    help="Columns of an input with another name (repeatable), or COLUMN,COLUMN,... of the only dense input.",
)
@option("--optional", multiple=True, metavar="INPUT", rare=True, help="Input whose values may be missing (repeatable).")
@score_options.constant
@options.csv
@options.rules
@score_options.batch
@score_options.batch_rows
@option(
    "--scoring-threads", default=0, metavar="N", rare=True, help="Number of batches at once (default: 0, one per core)."
)
@option("--intra-op-threads", default=0, metavar="N", rare=True, help="Number of TensorFlow's threads per operation.")
@click.option(
    "--quarantine-budget",
    type=float,
    default=None,
    metavar="X",
    help="Maximum fraction of rows without a prediction, 0 to 1.",
)
@score_options.elsewhere
@runner_command.optional_runner
def score(
    model: str,
    describe: bool,
    as_json: bool,
    data: str,
    output: str,
    inputs: tuple[str, ...],
    constants: tuple[str, ...],
    optional: tuple[str, ...],
    csv: tuple[str, ...],
    elsewhere: Mapping[str, Any],
    runner: Mapping[str, Any],
    **given: Any,
) -> None:
    """Score rows in batches with any SavedModel: predictions, and a quarantine with a reason for every other row.

    \b
    Examples:
      headrace score --model out/model --describe-model
      headrace score --model out/model --data births.parquet --output out/predictions
      headrace score --model other/saved_model --data 'rows/*.csv' --key id --input x=a,b,c --sink table --output out/t
    """
    endpoint, job = score_options.endpoint_of(elsewhere), score_options.job_of(elsewhere)
    for name, value in (("data", data), ("output", output)):
        if not value and not describe:
            raise UsageError(f"{name} is empty", where=f"--{name}", expected="a path")
    from headrace.components.score.config import ScoreConfig
    from headrace.core.saved_model.constants import constants_from
    from headrace.core.sources.csv_dialect import CsvDialect

    config = ScoreConfig(
        model=model,
        data=data or _NOWHERE,
        output=output or _NOWHERE,
        identity=_NOBODY,
        inputs=score_options.inputs_of(inputs),
        constants=constants_from(constants),
        optional=optional,
        csv=CsvDialect.parse(csv),
        runner=runner_command.chosen(runner),
        endpoint=endpoint,
        job=job,
        **given,
    )
    if describe:
        _describe(config, as_json)
    else:
        _score(config, csv, as_json)


def _score(config: Any, csv: tuple[str, ...], as_json: bool) -> None:
    from headrace.components.score.identity import score_identity, version_of
    from headrace.components.score.score import approach_of, score
    from headrace.core.sources.open import data_version, list_paths

    config.check_output()
    version = data_version(list_paths(config.data), config.csv)
    names = (
        "sink",
        "table",
        "partition_by",
        "signature",
        "key",
        "inputs",
        "optional",
        "constants",
        "batch",
        "approach",
        "rules",
    )
    settings = {name: getattr(config, name) for name in names}
    identity = score_identity(version_of(config.model, config.endpoint), version, csv=csv, **settings)
    config = dataclasses.replace(config, identity=identity, data_version=version)
    choice = approach_of(config)
    with showing("score", config.output) as (console, report):
        if not as_json:
            console.print(f"approach {choice.approach}: {choice.reason}")
        result = score(config, report, choice=choice)
        if as_json:
            print_json({**vars(result), "approach_reason": choice.reason, "output": config.output}, console.file)
            return
        where = f"{result.destination}; {config.output}" if result.destination else config.output
        console.print(
            f"{counted(result.rows_in, 'row')} in = {counted(result.rows_out, 'prediction')} + "
            f"{result.rows_quarantined:,} quarantined, model version {result.model_version}: {where}"
        )
        for reason, rows in result.reasons.items():
            console.print(f"quarantined, {reason}: {rows:,}")
        for reason, columns in result.rules.predicted.items():
            for column, rows in columns.items():
                console.print(f"predicted, {reason} in {column}: {rows:,}", markup=False)


def _describe(config: Any, as_json: bool) -> None:
    from headrace.core import storage

    with showing("score") as (console, _):
        source: Any
        if config.endpoint is not None and not (config.model and storage.exists(config.model)):
            from headrace.components.score.endpoint.endpoint import EndpointModel

            source = EndpointModel.of(config, config.endpoint)
        else:
            from headrace.components.score.batch.run import model_of

            source = model_of(config).load()
        if as_json:
            form = None
            if config.job is not None and config.model and config.data != _NOWHERE:
                from headrace.components.score.score import form_of

                form = form_of(config, config.job).text
            print_json(
                {
                    "model_version": source.model_version,
                    "takes": dataclasses.replace(source.takes, rules=None),
                    "form": form,
                },
                console.file,
            )
            return
        console.print(f"model version {source.model_version}", markup=False)
        console.print(source.takes.text(), markup=False)
        if config.job is not None and config.model and config.data != _NOWHERE:
            from headrace.components.score.score import form_of

            console.print(f"\n{form_of(config, config.job).text}", markup=False)
