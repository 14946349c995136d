"""Machine status: the newest run of a root, its running runs, and its endpoints."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headrace.components.deploy.local.status import ListedEndpoint, endpoints_of
from headrace.pipelines.runs.local_root import work_of
from headrace.pipelines.runs.records import RunRecord, list_runs


@dataclass(frozen=True)
class MachineStatus:
    """Status of a root on this machine.

    Attributes:
        root: the folder.
        latest: the newest run; None if there is none.
        under_way: the runs that a process is running now.
        endpoints: of the root.
    """

    root: str
    latest: RunRecord | None
    under_way: tuple[RunRecord, ...]
    endpoints: tuple[ListedEndpoint, ...]

    def to_json(self) -> dict[str, Any]:
        """The status as JSON values and dataclasses."""
        return dict(vars(self))


def machine_status(root: str) -> MachineStatus:
    """The status of a root on this machine; each endpoint's server has 5 s to respond.

    Raises:
        UsageError: the root does not exist.
    """
    runs = list_runs(root)
    return MachineStatus(
        root=root,
        latest=runs[0] if runs else None,
        under_way=tuple(run for run in runs if run.status == "running"),
        endpoints=endpoints_of(work_of(root)),
    )
