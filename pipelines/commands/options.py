"""Options that mean the same in every subcommand."""

from __future__ import annotations

import click

from headrace.pipelines.commands.run_argument import EXAMPLES, MODEL
from headrace.pipelines.runs.resolve import DEFAULT_ROOT

problem = click.option("--problem", required=True, metavar="FILE", help="The Problem file: a Python file of yours.")
data = click.option(
    "--data", required=True, metavar="PATH", help="Rows: a file, a folder, a glob, gs://... or bigquery://..."
)
csv = click.option(
    "--csv",
    multiple=True,
    metavar="NAME=VALUE",
    help="How CSV is written: delimiter, quote, escape, header, encoding, decimal, thousands, ...; repeatable.",
)
root = click.option(
    "--root",
    default=DEFAULT_ROOT,
    show_default=True,
    metavar="DIR",
    help="Where runs, models and endpoints are kept; a run that was killed resumes from there.",
)
examples = click.option(
    "--examples",
    required=True,
    type=EXAMPLES,
    metavar="DIR_OR_RUN",
    help="Examples: what `headrace preprocess` made, or the run that made them.",
)
model = click.option(
    "--model",
    required=True,
    type=MODEL,
    metavar="DIR_OR_RUN",
    help="A Model: what `headrace train` made, or the run that made one.",
)
champion = click.option(
    "--champion",
    default="",
    type=MODEL,
    metavar="DIR_OR_RUN",
    help="A Model to compare with, by the gate's champion_tolerance; or the run that made one.",
)
output = click.option(
    "--output",
    required=True,
    metavar="PATH",
    help="Where to write: a new place, or an earlier output of the same kind, which is replaced when all is done.",
)
baseline = click.option(
    "--baseline",
    default="",
    type=EXAMPLES,
    metavar="PATH_OR_RUN",
    help="An earlier statistics.json, the Examples that hold it, or their run: drift is judged against it.",
)
append = click.option(
    "--append",
    is_flag=True,
    help="Add the rows to the Examples at --output; corrected rows leave the quarantine by their quarantine_id.",
)
span = click.option(
    "--span",
    default="",
    metavar="SPAN",
    help="A number or a date: add the rows to the Examples at --output as this span; the others are not redone.",
)
replace = click.option(
    "--replace",
    is_flag=True,
    help="With --span: put other data in the place of that span. Without: of Examples with spans or appended rows.",
)
