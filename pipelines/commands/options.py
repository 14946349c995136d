"""Options that mean the same in every subcommand."""

from __future__ import annotations

import click

problem = click.option("--problem", required=True, metavar="FILE", help="The Problem file: a Python file of yours.")
data = click.option("--data", required=True, metavar="PATH", help="Rows: a CSV or Parquet file, a folder, or a glob.")
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
output = click.option("--output", required=True, metavar="PATH", help="Where to write; it appears whole or not at all.")
