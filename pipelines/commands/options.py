"""Options shared by several subcommands."""

from __future__ import annotations

import click

from headrace.pipelines.commands.run_argument import EXAMPLES, MODEL
from headrace.pipelines.runs.resolve import DEFAULT_ROOT

problem = click.option(
    "--problem", required=True, metavar="FILE", help="Problem file: your Python file that declares the problem."
)
data = click.option(
    "--data", required=True, metavar="PATH", help="Rows: a file, a folder, a glob, gs://..., s3://... or bigquery://..."
)
csv = click.option(
    "--csv",
    multiple=True,
    metavar="NAME=VALUE",
    help="CSV dialect: delimiter, quote, escape, header, encoding, decimal, thousands, ... (repeatable).",
)
root = click.option(
    "--root",
    default=DEFAULT_ROOT,
    show_default=True,
    metavar="DIR",
    help="Pipeline root, where runs, models and endpoints are stored; a killed run resumes from it.",
)
examples = click.option(
    "--examples",
    required=True,
    type=EXAMPLES,
    metavar="DIR_OR_RUN",
    help="Examples from `headrace preprocess`, or a run.",
)
model = click.option(
    "--model",
    required=True,
    type=MODEL,
    metavar="DIR_OR_RUN",
    help="Model from `headrace train`, or a run.",
)
champion = click.option(
    "--champion",
    default="",
    type=MODEL,
    metavar="DIR_OR_RUN",
    help="Model to compare with, by the gate's champion_tolerance; or a run.",
)
output = click.option(
    "--output",
    required=True,
    metavar="PATH",
    help="Output path: a new one, or an earlier output of the same kind, which is replaced atomically.",
)
baseline = click.option(
    "--baseline",
    default="",
    type=EXAMPLES,
    metavar="PATH_OR_RUN",
    help="Earlier statistics.json, its Examples, or their run, which drift is measured against.",
)
rules = click.option(
    "--rules",
    type=click.Choice(["enforce", "warn"]),
    default="enforce",
    show_default=True,
    help="Rules of the Model's Problem: enforce refuses rows that break one; warn predicts and counts values out of "
    "bounds or outside a vocabulary.",
)
append = click.option(
    "--append",
    is_flag=True,
    help="Append the rows to the Examples at --output; corrected rows replace quarantined ones by quarantine_id.",
)
span = click.option(
    "--span",
    default="",
    metavar="SPAN",
    help="Number or date of a span: add the rows to the Examples at --output as this span, without the others.",
)
replace = click.option(
    "--replace",
    is_flag=True,
    help="With --span, replace that span; without it, replace Examples that have spans or appended rows.",
)
