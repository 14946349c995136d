"""Options that mean the same in every subcommand."""

from __future__ import annotations

import click

problem = click.option("--problem", required=True, metavar="FILE", help="The Problem file: a Python file of yours.")
data = click.option(
    "--data", required=True, metavar="PATH", help="Rows: a file, a folder, a glob, gs://... or bigquery://..."
)
csv = click.option(
    "--csv",
    multiple=True,
    metavar="NAME=VALUE",
    help="How CSV is written: delimiter, quote, escape, header, encoding, null_values, comment, ...; once for each.",
)
root = click.option(
    "--root",
    default="headrace-runs",
    show_default=True,
    metavar="DIR",
    help="Where runs, models and endpoints are kept; a run that was killed resumes from there.",
)
examples = click.option("--examples", required=True, metavar="DIR", help="Examples: what `headrace preprocess` made.")
model = click.option("--model", required=True, metavar="DIR", help="A Model: what `headrace train` made.")
champion = click.option(
    "--champion", default="", metavar="DIR", help="A Model to compare with, by the gate's champion_tolerance."
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
    metavar="PATH",
    help="An earlier statistics.json, or the Examples that hold it: the Problem's drift is judged against it.",
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
