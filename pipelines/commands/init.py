"""`headrace init`: writes a first Problem file from a table."""

from __future__ import annotations

import shlex
import tempfile
from pathlib import Path

import click

from headrace.core import storage
from headrace.core.artifacts.kinds import PROBLEM
from headrace.core.errors import UsageError
from headrace.core.problem.file import load_problem
from headrace.core.storage.output_check import check_output
from headrace.core.text import counted
from headrace.pipelines.commands import options


@click.command()
@options.data
@options.csv
@click.option("--label", default="", metavar="COLUMN", help="Column to predict (default: inferred).")
@click.option(
    "--key",
    default="",
    metavar="COLUMN",
    help="Column that identifies a row (default: inferred, or none: rows are then numbered by content).",
)
@click.option("--name", default="", metavar="NAME", help="Name of the problem (default: from the data's name).")
@click.option(
    "--rows",
    default=100_000,
    show_default=True,
    type=click.IntRange(2),
    help="Maximum number of rows to read.",
)
@click.option("--output", default="problem.py", show_default=True, metavar="FILE.py", help="Problem file to write.")
@click.option("--replace", is_flag=True, help="Overwrite an existing file.")
def init(
    data: str, csv: tuple[str, ...], label: str, key: str, name: str, rows: int, output: str, replace: bool
) -> None:
    """Write a first Problem file, inferred from the first rows of a table, to check and correct.

    \b
    Example:
      headrace init --data examples/natality/births.csv --label weight_pounds --output problem.py
    """
    from headrace.components.preprocess.draft.write_problem import draft
    from headrace.core.sources.csv_dialect import CsvDialect

    if storage.exists(output) and not replace:
        raise UsageError("the file already exists", where=output, expected="a new name, or --replace")
    check_output(output, PROBLEM, inputs={"--data": data})
    found = draft(data, label=label, key=key, name=name, rows=rows, csv=CsvDialect.parse(csv))
    with tempfile.TemporaryDirectory(prefix="headrace-init-") as folder:
        path = Path(folder) / "problem.py"
        path.write_text(found.source, encoding="utf-8")
        problem = load_problem(str(path)).problem
    storage.write_bytes(output, found.source.encode())
    key_used = "no key" if found.key is None else f"key {found.key}"
    click.echo(
        f"{output}: predicts {found.label} ({problem.task}) from {counted(len(problem.columns), 'feature')}, "
        f"{key_used}; inferred from {'all' if found.complete else 'the first'} {found.rows:,} rows"
    )
    for name in found.suspects:
        click.echo(f"{name} alone predicts {found.label} almost perfectly, and is commented out: is it known before?")
    csv_options = [word for option in csv for word in ("--csv", option)]
    command = ["headrace", "run", "static", "--problem", output, "--data", data, *csv_options, "--root", "out"]
    click.echo(f"Check and correct it, then run: {shlex.join(command)}")
