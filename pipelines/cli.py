"""Command line `headrace`. Each subcommand is imported when it is called, so that `headrace --help` is fast."""

from __future__ import annotations

import importlib
import os
import sys
from typing import TYPE_CHECKING, NoReturn

import click

from headrace.core.errors import HeadraceError, PlatformError, UsageError, exhausted
from headrace.core.text import undecodable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

# The subcommands in the order of `--help`: import path, and a line of help.
COMMANDS = {
    "run": ("headrace.pipelines.commands.run:run", "Run a whole pipeline on this machine."),
    "runs": ("headrace.pipelines.commands.runs:runs", "List the runs of a root."),
    "compare": ("headrace.pipelines.commands.compare:compare", "Compare two runs."),
    "report": ("headrace.pipelines.commands.report:report", "Write a run's report page again."),
    "compile": ("headrace.pipelines.commands.compile:compile_", "Compile a pipeline to YAML."),
    "lint": (
        "headrace.pipelines.commands.lint:lint",
        "Check a compiled spec for what a platform would reject or ignore.",
    ),
    "submit": ("headrace.pipelines.commands.submit:submit", "Submit a compiled pipeline to Vertex AI or Kubeflow."),
    "schedule": ("headrace.pipelines.commands.schedule:schedule", "Schedule a compiled pipeline."),
    "status": ("headrace.pipelines.commands.status:status", "Show this machine's or a platform's runs."),
    "cancel": ("headrace.pipelines.commands.cancel:cancel", "End a run on a platform."),
    "logs": ("headrace.pipelines.commands.logs:logs", "Print what a run's tasks wrote."),
    "dynamic": ("headrace.pipelines.commands.dynamic:dynamic", "Train again as data arrives."),
    "tick": ("headrace.pipelines.commands.tick:tick", "Start the run of a dynamic training that is due."),
    "init": ("headrace.pipelines.commands.init:init", "Write a first Problem file from a table."),
    "preprocess": ("headrace.pipelines.commands.step:preprocess", "One step: rows to TFRecords of Examples."),
    "ingest": ("headrace.pipelines.commands.ingest:ingest", "One step: a span of data to a window of Examples."),
    "quarantine": ("headrace.pipelines.commands.quarantine:quarantine", "Show rows that broke a rule."),
    "train": ("headrace.pipelines.commands.train:train", "One step: Examples to a Model."),
    "tune": ("headrace.pipelines.commands.tune:tune", "Search for better parameters; the best trial is a Model."),
    "evaluate": ("headrace.pipelines.commands.step:evaluate", "One step: measure a Model, and apply the gate."),
    "score": ("headrace.pipelines.commands.score:score", "One step: predictions for many rows."),
    "deploy": (
        "headrace.pipelines.commands.deploy:deploy",
        "One step: put a Model behind an endpoint on this machine.",
    ),
    "serve": ("headrace.pipelines.commands.step:serve", "Serve a Model or an endpoint's live version over HTTP."),
    "stream": ("headrace.pipelines.commands.stream:stream", "Score records as they arrive, from Kafka or Pub/Sub."),
    "monitor": ("headrace.pipelines.commands.monitor:monitor", "Measure requests: skew, drift, late labels and age."),
    "requests": (
        "headrace.pipelines.commands.requests:requests",
        "Show a server's request log, or convert it to Parquet.",
    ),
    "watch": (
        "headrace.pipelines.commands.watch:watch",
        "Trigger dynamic training for the spans that come into a folder.",
    ),
    "trigger": (
        "headrace.pipelines.commands.trigger:trigger",
        "Trigger dynamic training by requests, a bucket, alarms or a schedule.",
    ),
    "endpoint": (
        "headrace.pipelines.commands.endpoint:endpoint",
        "Show an endpoint and its history, promote a version, start or stop it.",
    ),
    "rollback": (
        "headrace.pipelines.commands.rollback:rollback",
        "Return an endpoint to the version before: traffic, registry, predictions.",
    ),
    "registry": (
        "headrace.pipelines.commands.registry:registry",
        "Show the registered versions of a model, promote or archive one.",
    ),
    "predictions": (
        "headrace.pipelines.commands.predictions:predictions",
        "Show published predictions, or roll them back.",
    ),
    "completion": ("headrace.pipelines.commands.completion:completion", "Print a shell's completion script."),
}

# The extra that installs the imports of a subcommand.
_EXTRAS = {
    "apache_beam": "beam",
    "confluent_kafka": "kafka",
    "google": "vertex",
    "google_cloud_pipeline_components": "vertex",
    "kubernetes": "kubeflow",
    "pyarrow": "beam",
    "google_crc32c": "beam",
    "numpy": "train",
    "optuna": "tune",
    "tensorflow": "train",
    "keras": "train",
    "orjson": "serve",
    "uvicorn": "serve",
    "watchfiles": "triggers",
    "jinja2": "report",
}


class LazyGroup(click.Group):
    """A command group that imports a command when it is called, and not to list it."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names of the subcommands, in the order of a user's work."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the subcommand of a name."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """The subcommands and options that start with `incomplete`, without importing any."""
        from click.shell_completion import CompletionItem

        found = [CompletionItem(n, help=about) for n, (_, about) in COMMANDS.items() if n.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of subcommands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


def _print_version(context: click.Context, _: click.Parameter, value: bool) -> None:
    if not value:
        return
    from importlib.metadata import version

    from headrace.core.tfrecord import native

    click.echo(f"headrace, version {version('headrace')}")
    absence = native.absence()
    click.echo(f"C code: {f'not used, {absence}' if absence else 'used'}")
    context.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option("--debug", is_flag=True, help="Show a traceback with an error.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version,
    help="Show the version, and whether the C code for TFRecords is used.",
)  # fmt: skip
def cli(debug: bool) -> None:
    """Rows to a trained, evaluated and deployed model, by compiled Kubeflow pipelines.

    \b
    Start with the example:
      headrace run static --problem examples/natality/natality.py --data examples/natality/births.csv --root out

    \b
    Exit status:
      0   done
      2   a mistake in the Problem file, the data or an option: fix it, then run again
      3   the gate refused the model: nothing was deployed
      75  the platform failed: the same command may succeed later
    """


def _check_arguments(arguments: list[str]) -> None:
    for argument in arguments:
        shown = undecodable(argument)
        if shown is not None:
            raise UsageError("an argument is not UTF-8", expected="UTF-8 text", received=shown)


def main() -> None:
    """The entry point: errors become one paragraph on stderr and their exit status."""
    if instruction := os.environ.get("_HEADRACE_COMPLETE"):
        from headrace.pipelines.commands.completion import answer

        sys.exit(answer(cli, instruction))
    debug = "--debug" in sys.argv[1:2]
    try:
        _check_arguments(sys.argv[1:])
        cli.main(standalone_mode=False)
    except HeadraceError as error:
        if debug:
            raise
        _end(error)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("headrace: interrupted. Run the same command again; finished steps are not repeated.", err=True)
        sys.exit(130)
    except ModuleNotFoundError as error:
        if debug or error.name is None or error.name.partition(".")[0] not in _EXTRAS:
            raise
        extra = _EXTRAS[error.name.partition(".")[0]]
        _end(
            UsageError(
                f"{error.name} is not installed",
                where=f"headrace {' '.join(sys.argv[1:2])}",
                fix=f"Install the requirements of this command: pip install 'headrace[{extra}]'",
            )
        )
    except OSError as error:
        if debug:
            raise
        _end(
            PlatformError(
                "the operating system reported an error", where=error.filename, received=error.strerror or str(error)
            )
        )
    except Exception as error:
        if debug:
            raise
        _end(
            exhausted(error)
            or PlatformError(
                "unexpected internal error",
                received=f"{type(error).__name__}: {error}",
                fix="Run headrace --debug ... for a traceback, and report the error",
            )
        )


def _end(error: HeadraceError) -> NoReturn:
    from rich.console import Console

    from headrace.pipelines.console import print_error

    print_error(Console(stderr=True), error)
    sys.exit(error.exit_status)


if __name__ == "__main__":
    main()
