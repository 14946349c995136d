"""Submission from notebooks and scripts: `headrace submit` as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import Run


def submit(
    spec: str | os.PathLike[str],
    platform: str,
    *,
    problem: str | os.PathLike[str] = "",
    data: str = "",
    root: str = "",
    data_version: str = "",
    champion: str = "",
    baseline: str = "",
    csv: Sequence[str] = (),
    parameters: Mapping[str, Any] | None = None,
    name: str = "",
    cache: bool = True,
    **where: str,
) -> Run:
    """Submits a compiled pipeline, unless the same run is there already, and does not wait for its end.

    Args:
        spec: path of the compiled pipeline.
        platform: "vertex" or "kubeflow".
        problem: path of the Problem file; one that is here is uploaded below `root`.
        data, root, champion, baseline: as the tasks reach them: gs://..., or a path of the cluster.
        data_version: of data that cannot be read from here; measured otherwise.
        csv: how CSV files are written, as NAME=VALUE.
        parameters: other parameters of the pipeline by name, which win.
        name: what the run's name starts with; the problem's otherwise.
        cache: False runs every task, whatever the platform has cached.
        where: options_file, project, region and api_endpoint of Vertex AI; host, namespace and token_file of
            Kubeflow.

    Returns:
        The run as the platform has it: run_id, state, page.

    Raises:
        UserError: a mistake in the Problem file, the data or an argument, or the platform refused the request.
        PlatformError: the platform failed; the same call may succeed later.
    """
    from headrace.core.problem import copies
    from headrace.core.retry import RetryPolicy
    from headrace.pipelines.submission import submitting
    from headrace.pipelines.submission.place import OPTIONS, Place, service
    from headrace.pipelines.submission.prepare import prepare

    fields = {"options_file": "options_file", **{name.lstrip("-").replace("-", "_"): to for name, to, _, _ in OPTIONS}}
    known = list(fields)
    for option, value, expected in (("platform", platform, ("vertex", "kubeflow")), *(("", n, known) for n in where)):
        if value not in expected:
            raise UsageError(
                "the option is wrong", where=option or None, expected=", ".join(expected), received=repr(value)
            )
    place = Place(platform, **{fields[option]: value for option, value in where.items()})
    inputs = {
        "problem": os.fspath(problem),
        "data": data,
        "root": root,
        "data_version": data_version,
        "champion": champion,
        "baseline": baseline,
        "csv": tuple(csv),
        "parameter": [],
    }
    prepared = prepare(os.fspath(spec), place, inputs, name, cache=cache, values=parameters or {})
    with service(place) as opened:
        copies.write(prepared.upload)
        run, _ = submitting.submit(opened, opened.run_id(prepared.run_id), prepared.submission, RetryPolicy())
    return run
