"""Single steps from a shell, without a pipeline."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import GateRefused, UsageError
from headrace.core.problem.file import load_problem
from headrace.core.steps import identity as lineage
from headrace.core.tensorflow_import import import_tensorflow
from headrace.core.text import counted
from headrace.pipelines.commands import limit_options, options, score_options, serve_options
from headrace.pipelines.commands import runner_options as runner_command
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.option_groups import GroupedCommand, option
from headrace.pipelines.commands.progress_output import showing
from headrace.pipelines.commands.run_argument import MODEL

if TYPE_CHECKING:
    from headrace.components.preprocess.append.spans import Update
    from headrace.components.serve.limits import Limits


@click.command(cls=GroupedCommand)
@options.problem
@options.data
@options.csv
@options.output
@options.baseline
@options.append
@options.span
@options.replace
@json_option
@runner_command.runner
def preprocess(
    problem: str,
    data: str,
    csv: tuple[str, ...],
    output: str,
    baseline: str,
    append: bool,
    span: str,
    replace: bool,
    as_json: bool,
    runner: Mapping[str, Any],
) -> None:
    """Turn rows into TFRecords of tf.train.Example, with statistics, a manifest and a quarantine."""
    chosen = runner_command.chosen(runner)
    chosen.check_places(data, output)
    if replace and append:
        raise UsageError("--append and --replace exclude each other", where="--replace", expected="one of the two")
    from headrace.components.preprocess.check import check_data
    from headrace.components.preprocess.limits import baseline_version
    from headrace.components.preprocess.output_guard import check_place, check_replaceable
    from headrace.core.rows.prepare import Prepare
    from headrace.core.sources.csv_dialect import CsvDialect
    from headrace.core.sources.open import data_version as measure_version

    file = load_problem(problem)
    check_place(output, problem=problem, data=data, baseline=baseline)
    dialect = CsvDialect.parse(csv)
    if not (append or span or replace):
        check_replaceable(output)
    data_version = measure_version(check_data(file.problem, data, dialect, Prepare.of(file)), dialect)
    with showing("preprocess", output) as (console, report):
        from headrace.components.preprocess import pipeline

        config = pipeline.PreprocessConfig(
            data=data,
            output=output,
            identity=lineage.preprocess_identity(file, data_version, baseline_version(baseline), csv),
            data_version=data_version,
            baseline=baseline,
            csv=dialect,
            runner=chosen,
        )
        if append or span:
            from headrace.components.preprocess.append import spans

            if append:
                update = spans.append(file, config, span=span, report=report)
            else:
                update = spans.add_span(file, config, span, replace=replace, report=report)
            if as_json:
                print_json({**vars(update), "output": output}, console.file)
            else:
                console.print(_added(update, output))
            return
        result = pipeline.preprocess(file, config, report)
        if as_json:
            print_json({**vars(result), "output": output}, console.file)
            return
        console.print(
            f"{counted(result.rows_in, 'row')} in = {result.rows_out:,} out + "
            f"{result.rows_quarantined:,} quarantined: {output}"
        )


@click.command()
@options.problem
@options.examples
@options.model
@options.champion
@options.output
@json_option
def evaluate(problem: str, examples: str, model: str, champion: str, output: str, as_json: bool) -> None:
    """Measure a Model on the test split, and apply the Problem's gate. Exit status 3 if the gate rejects it."""
    file = load_problem(problem)
    from headrace.components.evaluate import evaluator

    config = evaluator.EvaluateConfig(examples, model, output, champion or None)
    config.check_output(problem)
    version = lineage.model_version_of(model)
    identity = lineage.evaluate_identity(file, lineage.examples_identity_of(examples), version, champion)
    config = dataclasses.replace(config, identity=identity)
    with showing("evaluate", output) as (console, report):
        import_tensorflow()
        result = evaluator.evaluate(file, config, report)
        if as_json:
            print_json({**vars(result), "output": output}, console.file)
        else:
            for name, value in result.metrics.items():
                console.print(f"{name:<24} {'undefined' if value is None else format(value, '.4g')}")
            for reason in result.reasons:
                console.print(reason)
    if not result.blessed:
        raise GateRefused("the gate refused the model", where=output)


@click.command(cls=GroupedCommand)
@click.argument("path", metavar="MODEL_OR_REGISTRY_OR_RUN", type=MODEL, required=False)
@serve_options.mode
@serve_options.table
@serve_options.cache
@click.option(
    "--alias",
    default="champion",
    show_default=True,
    metavar="NAME",
    help="Version to serve where the argument is a registry.",
)
@serve_options.follow
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option(
    "--port",
    default=8080,
    show_default=True,
    type=click.IntRange(0, 65535),
    help="Port to listen on; 0 for any free port.",
)
@options.rules
@click.option("--access-log", is_flag=True, help="Write a JSON line per request to the standard output.")
@option(
    "--request-log", default=None, metavar="URI",
    help="Folder, or prefix on gs:// or s3://, to log a sample of the predicted rows to.",
)  # fmt: skip
@option(
    "--request-log-share", default=None, type=click.FloatRange(0, 1), metavar="FRACTION",
    help="Fraction of the rows to log (default: 0.1).",
)  # fmt: skip
@option(
    "--traffic-log", default=None, metavar="URI", rare=True,
    help="Folder or gs:// prefix for the counts of requests by version, which a canary at Vertex AI or KServe is "
    "decided by.",
)  # fmt: skip
@option(
    "--engine", default="tensorflow", show_default=True, type=click.Choice(("tensorflow", "litert")), rare=True,
    help="Engine: litert computes a Model behind its text features, if its predictions are TensorFlow's within a "
    "relative 1e-5 at the start; else TensorFlow does, and the log has the reason.",
)  # fmt: skip
@option("--signature", default="serving_default", show_default=True, rare=True, help="Signature of the SavedModel.")
@score_options.constant
@limit_options.options
def serve(
    path: str | None,
    mode: Any,
    table: str | None,
    cache_rows: int,
    alias: str,
    follow_s: float | None,
    host: str,
    port: int,
    rules: Any,
    access_log: bool,
    request_log: str | None,
    request_log_share: float | None,
    traffic_log: str | None,
    engine: Any,
    signature: str,
    constants: tuple[str, ...],
    limits: Limits,
) -> None:
    """Serve a Model, that of a run, an endpoint's live version or a registry's champion, until SIGTERM or Ctrl-C.

    With --mode static a table of predictions by key alone: no MODEL_OR_REGISTRY_OR_RUN.

    \b
    Routes:
      POST /predict                     Vertex AI: {"instances": [{...}]} -> {"predictions": [{...}]}
      POST /v1/models/NAME:predict      TensorFlow Serving's REST interface, and KServe's V1 protocol
      GET  /v1/models/NAME[/metadata]   the same
      POST /v2/models/NAME/infer        KServe's V2 protocol, with JSON or binary tensors
      GET  /v2/models/NAME[/ready]      the same
      GET  /health, /v2/health/ready    200 once the model is loaded
      GET  /metrics                     latency, batches, queue, refused rows and versions, as Prometheus reads them
      GET  /openapi.json                all of this, with the inputs of the model
    """
    from headrace.components.request_log.config import request_log_of
    from headrace.components.serve import server
    from headrace.components.serve.config import ServeConfig
    from headrace.core.saved_model.constants import constants_from

    def report(message: str, **_: Any) -> None:
        click.echo(message, err=True)

    config = ServeConfig(
        source=path or "",
        mode=mode,
        table=table,
        cache_rows=cache_rows,
        alias=alias,
        follow_s=follow_s,
        access_log=access_log,
        host=host,
        port=port,
        rules=rules,
        engine=engine,
        signature=signature,
        constants=constants_from(constants),
        request_log=request_log_of(request_log, request_log_share),
        traffic_log=traffic_log,
        limits=limits,
    )
    server.serve(config, report)


def _added(update: Update, output: str) -> str:
    whole = update.manifest
    if update.status == "unchanged":
        message = "these rows are there already, and nothing was changed"
    else:
        message = f"{counted(update.rows, 'row')} {update.status}"
        if update.corrected:
            ones = "a quarantined one" if update.corrected == 1 else "quarantined ones"
            message += f", {update.corrected:,} of them in the place of {ones}"
    message += (
        f"; now {counted(whole.rows_in, 'row')} in = {whole.rows_out:,} out + {whole.rows_quarantined:,} quarantined"
    )
    return f"{message}{', ' + counted(len(whole.spans), 'span') if whole.spans else ''}: {output}"
