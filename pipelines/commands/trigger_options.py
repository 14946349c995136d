"""Options of triggers: the settings of the dynamic training, and the rule by which spans close."""

from __future__ import annotations

import click

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
