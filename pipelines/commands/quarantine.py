"""`headrace quarantine`: shows the rows that broke a rule, and exports them for correction."""

from __future__ import annotations

import json
import sys
from collections import Counter

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.storage.output_check import TextFile, check_output
from headrace.core.text import counted
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.run_argument import QUARANTINED


@click.group()
def quarantine() -> None:
    """Show the rows that broke a rule, and export them for correction."""


@quarantine.command()
@click.argument("folder", metavar="DIR_OR_RUN", type=QUARANTINED)
@click.option(
    "--reason", default=None, metavar="REASON", help="Reason of the rows to show, such as out_of_range (default: all)."
)
@click.option(
    "--limit", default=20, show_default=True, type=click.IntRange(0), help="Maximum number of rows to show; 0 for all."
)
@click.option(
    "--output", default=None, metavar="FILE.csv", help="CSV file to write the rows' values to, for correction."
)
@json_option
def show(folder: str, reason: str | None, limit: int, output: str | None, as_json: bool) -> None:
    """Show the rows that broke a rule, and their number by rule. DIR holds Examples, Predictions or quarantine files.

    \b
    To correct rows:
      headrace quarantine show EXAMPLES --output corrected.csv       # correct the values there; keep quarantine_id
      headrace preprocess --problem FILE --append --output EXAMPLES --data corrected.csv
    """
    from headrace.core.artifacts.quarantine import REASONS, read_rows, to_csv
    from headrace.core.artifacts.quarantine_files import quarantine_files

    if reason is not None and reason not in REASONS:
        raise UsageError("the reason does not exist", where="--reason", expected=", ".join(REASONS), received=reason)
    every = [row for file in quarantine_files(folder) for row in read_rows(file)]
    # A row that broke several rules is counted by the first of them, as in the manifest, and selected by any.
    chosen = [row for row in every if reason is None or any(reason == f.reason for f in (row.fault, *row.also))]
    if output is not None:
        # An earlier file may have been corrected since: it is never overwritten.
        same = TextFile("the same rows", lambda content: content == to_csv(chosen))
        check_output(output, same, inputs={"DIR": folder})
    counts: Counter[str] = Counter(row.fault.reason for row in every)
    shown = chosen[:limit] if limit else chosen
    if as_json:
        if output is not None:
            storage.write_bytes(output, to_csv(chosen))
        rows = [{**json.loads(row.to_line()), "quarantine_id": row.id} for row in shown]
        print_json({"reasons": counts, "rows": rows, "chosen": len(chosen), "output": output})
        return
    console = Console(file=sys.stdout, highlight=False)
    console.print(_counts(counts))
    if shown:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for name, justify in (("file", "left"), ("row", "right"), ("column", "left"), ("message", "left")):
            table.add_column(name, justify=justify, overflow="fold")  # type: ignore[arg-type]
        for row in shown:
            for place, fault in enumerate((row.fault, *row.also)):
                where = (row.file, f"{row.row:,}") if not place else ("", "")
                table.add_row(*(_plain(text) for text in (*where, fault.column or "", fault.message)))
        console.print()
        console.print(table)
    if len(shown) < len(chosen):
        console.print(f"... and {len(chosen) - len(shown):,} more; --limit 0 shows all", markup=False)
    if output is not None:
        storage.write_bytes(output, to_csv(chosen))
        console.print(f"wrote {counted(len(chosen), 'row')} to {output}", markup=False, soft_wrap=True)


def _counts(counts: Counter[str]) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("reason")
    table.add_column("rows", justify="right")
    for name, count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        table.add_row(name, f"{count:,}")
    table.add_row("all", f"{counts.total():,}", style="bold")
    return table


def _plain(text: str) -> Text:
    """Text without terminal control sequences."""
    return Text("".join(char if char.isprintable() else repr(char)[1:-1] for char in text))
