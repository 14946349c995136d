"""Options of serving: the mode, its table, and new versions."""

from __future__ import annotations

import click

mode = click.option(
    "--mode",
    type=click.Choice(("dynamic", "static", "hybrid")),
    help="Mode: dynamic answers with the model, static from a table of predictions by key, hybrid from the table first "
    "and else with the model (default: what the Model's Problem declares, else dynamic).",
)
table = click.option(
    "--prediction-table",
    "table",
    metavar="TABLE",
    help="Folder of published tables, for static and hybrid; `headrace predictions table` builds one. Of published "
    "predictions in Parquet or BigQuery the server builds one at its start.",
)
cache = click.option(
    "--answer-cache",
    "cache_rows",
    default=0,
    show_default=True,
    type=click.IntRange(0),
    metavar="ROWS",
    help="Maximum number of fresh answers that hybrid mode caches.",
)
follow = click.option(
    "--follow-every",
    "follow_s",
    type=click.FloatRange(min=0, min_open=True),
    metavar="SECONDS",
    help="Time between two checks for a new table and for a new version behind the alias, in seconds; each is verified "
    "before the switch (default: never).",
)
