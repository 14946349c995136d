"""Options of ingest, and the checks of its inputs and outputs."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.components.ingest.window import Window
from headrace.components.preprocess.output_guard import check_replaceable
from headrace.core.artifacts.kinds import EXAMPLES, ROOT, SPANS
from headrace.core.artifacts.missing import is_there, marker_of
from headrace.core.beam.runners import DirectRunner, RunnerOptions
from headrace.core.checks import check_positive
from headrace.core.errors import UsageError
from headrace.core.ledger.inbox import Arrival
from headrace.core.problem.file import ProblemFile
from headrace.core.steps.workspace import spans_uri
from headrace.core.storage import exists, is_remote, join, read_json
from headrace.core.storage.output_check import check_output


@dataclass(frozen=True)
class IngestConfig:
    """Options of ingest.

    Args:
        arrivals: the spans that arrived. If empty, the window is written again, such as after a withdrawal.
        root: URI of the pipeline root; spans are stored below it.
        output: folder of the window's Examples; an earlier window is replaced.
        window: limit of the window; all spans by default.
        withdrawn: names of spans, or versions of arrivals, that are excluded from the window.
        half_life: number of spans after which the weight of a row in training is halved; 0 for equal weights.
        baseline: statistics that new spans are compared with: a Model such as the champion, Examples, or a
            statistics.json. "" compares nothing.
        csv: options of reading CSV, as NAME=VALUE.
        runner: the Beam runner and its options.

    Raises:
        UsageError: the root is empty, the half-life is not positive, an arrival has no span or data version, the name
            of its span does not begin with a day although the window is a number of days, or the runner cannot read
            its data.
    """

    arrivals: tuple[Arrival, ...]
    root: str
    output: str
    window: Window = field(default_factory=Window)
    withdrawn: tuple[str, ...] = ()
    half_life: float = 0.0
    baseline: str = ""
    csv: tuple[str, ...] = ()
    runner: RunnerOptions = field(default_factory=DirectRunner)

    def __post_init__(self) -> None:
        if self.half_life:
            check_positive(self.half_life, "half_life")
        if not self.root:
            raise UsageError("the root is empty", expected="a folder, gs:// or s3://")
        for arrival in self.arrivals:
            for name, what in (("span", "span"), ("data_version", "data version")):
                if not getattr(arrival, name):
                    raise UsageError(
                        f"the arrival has no {what}",
                        where=arrival.data,
                        expected="the name of a span, such as 2026-11-20, and a fingerprint of its data",
                        received='""',
                    )
            self.window.check(arrival.span)
            self.runner.check_places(arrival.data, self.root)

    def check(self, file: ProblemFile) -> None:
        """Checks that all outputs may be written; writes nothing.

        Raises:
            UsageError: the output, the root or the folder of spans contains something else, or is an input.
            PlatformError: the disk or the service failed.
        """
        inputs = {f"data of span {arrival.span}": arrival.data for arrival in self.arrivals}
        inputs |= {"--problem": file.path, "--baseline": self.baseline}
        folder = spans_uri(self.root, file.problem.name)
        # These checks list a folder, which in a bucket takes time in proportion to the number of spans.
        if not is_remote(self.root):
            check_output(self.root, ROOT, option="--root", inputs=inputs)
        if not exists(join(folder, SPANS.state)):
            check_output(folder, SPANS, option="--root", inputs=inputs)
        check_output(self.output, EXAMPLES, inputs={**inputs, "--root": self.root})
        if is_there("Examples", self.output) and not _is_window(self.output):
            check_replaceable(self.output)


def _is_window(output: str) -> bool:
    """Whether Examples are those of a window, whose shards are elsewhere. It does not parse the whole manifest."""
    found = read_json(marker_of("Examples", output))
    return isinstance(found, dict) and bool(found.get("files_in"))
