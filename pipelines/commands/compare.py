"""`headrace compare`: compares two runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from headrace.core.artifacts.kinds import REPORT
from headrace.core.storage.output_check import check_output
from headrace.pipelines.commands.json_output import as_json as json_option
from headrace.pipelines.commands.json_output import print_json
from headrace.pipelines.commands.text_table import aligned, moment
from headrace.pipelines.runs.resolve import DEFAULT_ROOT, resolve_run

if TYPE_CHECKING:
    from headrace.pipelines.report.comparison import Difference, MetricValue, RunComparison

_APART = {"apart": "intervals apart", "overlap": "intervals overlap", "unknown": ""}


@click.command()
@click.argument("left", metavar="RUN")
@click.argument("right", metavar="RUN")
@click.option("--root", default=DEFAULT_ROOT, show_default=True, metavar="DIR", help="Root of the run ids.")
@click.option("--output", default="", metavar="FILE.html", help="Write the comparison as a page too.")
@json_option
def compare(left: str, right: str, root: str, output: str, as_json: bool) -> None:
    """Compare two runs: metrics with confidence intervals, and the options, data and code that differ.

    RUN is a run's id within --root or an unambiguous prefix of one, its folder, or its summary.

    \b
    Examples:
      headrace compare natality-0123456789ab natality-ba9876543210 --root out
      headrace compare out/runs/natality-0123456789ab other/runs/natality-0123456789ab --output compared.html
    """
    from headrace.pipelines.report.comparison import compare as compare_runs

    if output:
        check_output(output, REPORT)
    runs = resolve_run(left, root), resolve_run(right, root)
    if output:
        check_output(output, REPORT, inputs={"RUN": runs[0].folder, "the other RUN": runs[1].folder})
    found = compare_runs(*runs)
    if output:
        from headrace.pipelines.report.comparison_page import write_comparison

        write_comparison(found, output)
    if as_json:
        print_json(found.to_json())
        return
    click.echo("\n\n".join(_sections(found)))
    if output:
        click.echo(f"\nPage: {output}")


def _sections(found: RunComparison) -> list[str]:
    left, right = found.left, found.right
    facts = [
        ("", left.run_id, right.run_id),
        ("status", left.status, right.status),
        ("started", moment(left.started), moment(right.started)),
        ("data", left.data, right.data),
        ("model version", left.model_version or "-", right.model_version or "-"),
    ]
    sections = [aligned(facts)]
    if found.metrics:
        rows = [
            (
                pair.name,
                _measured(pair.left),
                _measured(pair.right),
                "" if pair.difference is None else f"{pair.difference:+.4g}",
                _APART[pair.intervals],
            )
            for pair in found.metrics
        ]
        title = "Metrics"
        if found.same_rows is False:
            title += " (measured on different test rows)"
        sections.append(f"{title}\n{aligned(rows)}")
    kinds = (("Options", found.options), ("Data", found.data), ("Code", found.code))
    sections += [f"{heading} that differ\n{_differences(each)}" for heading, each in kinds if each]
    if same := [heading.lower() for heading, each in kinds if not each]:
        sections.append(f"No difference in {' and '.join(same)}.")
    if found.problem_diff:
        sections.append("Problem file\n" + "\n".join(found.problem_diff))
    return sections + [f"Not read: {note}" for note in found.notes]


def _measured(measured: MetricValue) -> str:
    if measured.value is None:
        return "-"
    if measured.low is None or measured.high is None:
        return f"{measured.value:.4g}"
    return f"{measured.value:.4g} [{measured.low:.4g}, {measured.high:.4g}]"


def _differences(differences: Sequence[Difference]) -> str:
    return aligned([(each.name, each.left or "-", each.right or "-") for each in differences])
