"""Runner options: what all Beam runners have in common, and options of Beam's own, which Beam's own parser checks.

Beam is imported only to check options of its own or to build its options object.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions
    from apache_beam.runners.runner import PipelineRunner

# Reference of a container image, from which Dataflow's and Docker's workers start.
IMAGE = (
    r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?",
    "the image that holds this component, such as europe-docker.pkg.dev/my-project/headrace/preprocess:1.0",
)
# Options, as Beam spells them, that the runners have fields for.
_OWN_FLAGS = frozenset(
    (
        *("runner", "job_endpoint", "environment_type", "environment_config"),
        *("direct_num_workers", "direct_running_mode"),
        *("project", "region", "temp_location", "staging_location", "sdk_container_image", "sdk_location", "job_name"),
        *("service_account_email", "network", "subnetwork", "machine_type", "num_workers", "max_num_workers"),
        *("disk_size_gb", "labels", "use_public_ips", "no_use_public_ips", "worker_harness_container_image"),
    )
)


@dataclass(frozen=True)
class RunnerOptions:
    """Options of every runner.

    Attributes:
        beam_options: options of Beam's own, without their dashes; "true" or "" for flags. A value with commas is
            split at them, and the option is repeated for each part.

    Raises:
        UsageError: an option that Beam does not know, a value that it rejects, or an option that headrace sets itself.
    """

    name: ClassVar[str]
    # Whether workers run on this machine, and so can exchange rows on its disk.
    local: ClassVar[bool] = False

    _: dataclasses.KW_ONLY
    beam_options: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.beam_options:
            _check_beam_options(self.beam_options)

    def flags(self) -> list[str]:
        """The options in the form of Beam's command line, without `beam_options`."""
        return []

    def check_places(self, data: str, output: str) -> None:
        """Checks that the runner's workers can reach the rows and the output.

        Raises:
            UsageError: they cannot.
        """

    def pipeline_options(self, job_name: str = "") -> PipelineOptions:
        """Beam's options object.

        Args:
            job_name: used if the options give none.
        """
        from apache_beam.options.pipeline_options import PipelineOptions

        flags = [*self.flags(), *_beam_flags(self.beam_options)]
        if job_name and not any(flag.startswith("--job_name=") for flag in flags) and not self.local:
            flags.append(f"--job_name={job_name}")
        return PipelineOptions(flags)

    def make(self) -> PipelineRunner:
        """Creates the Beam runner."""
        raise NotImplementedError

    def make_streaming(self) -> PipelineRunner:
        """Creates the Beam runner for a pipeline that does not end.

        Raises:
            UsageError: it cannot run one with these options.
        """
        return self.make()


def _check_beam_options(options: Mapping[str, str]) -> None:
    """Refuses options that Beam's own parser does not know, and values that it rejects."""
    import contextlib
    import io

    from apache_beam.options.pipeline_options import PipelineOptions

    for name in options:
        if name in _OWN_FLAGS:
            raise UsageError(
                f'"{name}" has an option of its own',
                where="--beam-option",
                expected="an option that headrace does not have",
            )
    parsers: list[Any] = []
    PipelineOptions([]).get_all_options(add_extra_args_fn=parsers.append)
    (parser,) = parsers
    stderr = io.StringIO()
    try:
        # The parser says what is wrong on stderr, and exits.
        with contextlib.redirect_stderr(stderr):
            _, unknown = parser.parse_known_args(_beam_flags(options))
    except SystemExit as error:
        raise UsageError(
            "Beam rejected an option",
            where="--beam-option",
            received=stderr.getvalue().rpartition("error: ")[2].strip(),
        ) from error
    if unknown:
        import difflib

        name = unknown[0].partition("=")[0].lstrip("-")
        close = difflib.get_close_matches(name, re.findall(r"--([a-z_]+)", parser.format_usage()), n=1)
        raise UsageError(
            f'Beam has no option "{name}"',
            where="--beam-option",
            expected="an option as Beam's documentation spells it, such as number_of_worker_harness_threads",
            received=unknown[0],
            fix=f'Did you mean "{close[0]}"?' if close else None,
        )


def _beam_flags(options: Mapping[str, str]) -> list[str]:
    return [f"--{name}" if value in ("", "true") else f"--{name}={value}" for name, value in options.items()]


def option_of(name: str) -> str:
    """The option of the command line that sets a field."""
    spelled = {"beam_options": "beam_option", "labels": "label", "public_addresses": "no_public_addresses"}
    return f"--{spelled.get(name, name).replace('_', '-')}"
