"""`headrace endpoint monitor`: Vertex AI's Model Monitoring for an endpoint there, printed or created."""

from __future__ import annotations

import click

from headrace.core.problem.file import load_problem
from headrace.core.text import listed
from headrace.pipelines.commands import options
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.progress_output import showing


@click.command()
@click.argument("endpoint", metavar="ENDPOINT")
@options.problem
@click.option(
    "--vertex-model", required=True, metavar="MODEL", help="The deployed version: projects/P/locations/L/models/ID@N."
)
@click.option(
    "--training-data",
    required=True,
    metavar="URI",
    help="Raw rows that the model was trained on: gs://... of CSV or JSON lines, or bigquery://PROJECT.DATASET.TABLE.",
)
@click.option("--metrics", required=True, metavar="URI", help="Prefix on gs:// of the service's metrics.")
@click.option(
    "--cron", default="0 6 * * *", show_default=True, metavar="CRON", help="When requests are measured, in UTC."
)
@click.option(
    "--window",
    default="1d",
    show_default=True,
    metavar="PERIOD",
    help="Requests that are measured: a number and h, d or w.",
)
@click.option("--email", "emails", multiple=True, metavar="ADDRESS", help="Gets alerts (repeatable).")
@click.option("--create", is_flag=True, help="Create it, or change the one that is there; else it is printed.")
@json_option
def monitor(
    endpoint: str,
    problem: str,
    vertex_model: str,
    training_data: str,
    metrics: str,
    cron: str,
    window: str,
    emails: tuple[str, ...],
    create: bool,
    as_json: bool,
) -> None:
    """Print, or create, Vertex AI's model monitor of an ENDPOINT there, with the thresholds of the Problem's `monitor`.

    It compares the requests that the endpoint logs with the training data. ENDPOINT must log requests and responses.
    What the service does not have, such as late labels, stays with `headrace monitor`.
    """
    from headrace.components.monitor.vertex.model_monitor import ModelMonitorConfig, model_monitor, not_there, schedule

    config = ModelMonitorConfig(endpoint, vertex_model, training_data, metrics, cron, window, emails)
    declared = load_problem(problem).problem
    if create:
        from headrace.components.monitor.vertex.create import put_model_monitor

        with showing("monitor") as (console, report):
            made = put_model_monitor(declared, config, report)
            if as_json:
                print_json(made, console.file)
            else:
                console.print(f"{'created' if made.new else 'changed'} {made.monitor}, {made.schedule}", soft_wrap=True)
    else:
        whole = {
            "modelMonitor": model_monitor(declared, config),
            "schedule": schedule(declared, config, f"{config.parent}/modelMonitors/ID"),
        }
        print_json(whole)
    kept = [f"{name} {value:g}" for name, value in not_there(declared).items()]
    click.echo(f"Not at Vertex AI, measured by `headrace monitor` alone: {listed(kept)}, late labels", err=True)
