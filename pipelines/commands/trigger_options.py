"""Options of triggers: the settings of the dynamic training, the rule by which spans close, and the time of ticks."""

from __future__ import annotations

import click

from headrace.pipelines.commands.durations import Duration

settings = click.option(
    "--settings",
    required=True,
    metavar="PATH",
    help="The dynamic training: its root, ROOT/dynamic/NAME, or settings.json in it; on a disk, or gs://.",
)
closed_by = click.option(
    "--closed-by",
    required=True,
    metavar="RULE",
    help="When a span is complete. marker: a file _SUCCESS, or marker=NAME, is newer than all others. manifest: "
    "_manifest.json, or manifest=NAME, names its files with their bytes, and all are there. quiet=DURATION: nothing "
    "changed for so long. object: each object on gs:// is a span.",
)
tick = click.option(
    "--tick",
    "tick_s",
    type=Duration(),
    default="1m",
    show_default=True,
    metavar="DURATION",
    help="Time between two checks of the run under way; each starts the next run, or a failed one again, if it is due.",
)
