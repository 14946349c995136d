"""`headrace requests`: the request log of a server, counted, and converted to Parquet."""

from __future__ import annotations

import sys

import click
from rich.console import Console
from rich.table import Table

from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json


@click.group()
def requests() -> None:
    """Show the request log of a server, or convert it to Parquet."""


@requests.command()
@click.argument("folder", metavar="DIR")
@json_option
def show(folder: str, as_json: bool) -> None:
    """Show the files, rows and versions of a request log. DIR is that of `headrace serve --request-log DIR`."""
    from datetime import UTC, datetime

    from headrace.components.request_log.read import log_files, read_batches
    from headrace.core.errors import UsageError

    files = log_files(folder)
    if not files:
        raise UsageError(
            "the request log has no complete files",
            where=folder,
            expected="the folder of `headrace serve --request-log`, some seconds after its first requests",
        )
    versions: dict[str, dict[str, float]] = {}
    for batch in read_batches(folder):
        found = versions.setdefault(batch.version, {"rows": 0, "first": batch.time, "last": batch.time})
        found["rows"] += batch.rows
        found["first"], found["last"] = min(found["first"], batch.time), max(found["last"], batch.time)

    def text(seconds: float) -> str:
        return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

    rows = [
        {"version": version, "rows": int(each["rows"]), "first": text(each["first"]), "last": text(each["last"])}
        for version, each in sorted(versions.items())
    ]
    if as_json:
        print_json({"files": len(files), "versions": rows})
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("version", "rows", "first", "last"):
        table.add_column(name, justify="right" if name == "rows" else "left")
    for row in rows:
        table.add_row(str(row["version"]), f"{row['rows']:,}", str(row["first"]), str(row["last"]))
    Console(file=sys.stdout, highlight=False).print(table)


@requests.command()
@click.argument("folder", metavar="DIR")
@json_option
def convert(folder: str, as_json: bool) -> None:
    """Convert the complete files of a request log to Parquet: one file per version, next to them.

    The server writes its files without pyarrow, which its image lacks. A conversion that is killed may be run again.
    """
    from headrace.components.request_log.config import RequestLogConfig
    from headrace.components.request_log.parquet import convert as convert_files

    written = [str(path) for path in convert_files(RequestLogConfig(folder))]
    if as_json:
        print_json({"files": written})
        return
    for path in written:
        click.echo(path)
