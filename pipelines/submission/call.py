"""Submission from notebooks and scripts: `headrace submit` as a function."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import PlatformRun


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
) -> PlatformRun:
    """Submits a compiled pipeline, unless the same run already exists, and does not wait for its end.

    Args:
        spec: path of the compiled pipeline.
        platform: "vertex" or "kubeflow".
        problem: path of the Problem file; a local one is uploaded below `root`.
        data, root, champion, baseline: paths or URIs of the tasks: gs://..., or a path of the cluster.
        data_version: of data that cannot be read from here; measured otherwise.
        csv: dialect of CSV files, as NAME=VALUE.
        parameters: other parameters of the pipeline by name, which take precedence.
        name: prefix of the run's name; by default the problem's name.
        cache: False runs every task, whatever the platform has cached.
        where: options_file, project, region and api_endpoint of Vertex AI; kubeflow_url, namespace and token_file
            of Kubeflow.

    Returns:
        The platform's run: run_id, state, page.

    Raises:
        UserError: a mistake in the Problem file, the data or an argument, or the platform rejected the request.
        PlatformError: the platform failed; the same call may succeed later.
    """
    from headrace.core.problem import copies
    from headrace.core.retry import RetryPolicy
    from headrace.pipelines.submission import submitting
    from headrace.pipelines.submission.place import OPTIONS, PlatformLocation, service
    from headrace.pipelines.submission.prepare import prepare

    fields = {"options_file": "options_file", **{name.lstrip("-").replace("-", "_"): to for name, to, _, _ in OPTIONS}}
    known = list(fields)
    for option, value, expected in (("platform", platform, ("vertex", "kubeflow")), *(("", n, known) for n in where)):
        if value not in expected:
            raise UsageError(
                "the option is not valid", where=option or None, expected=", ".join(expected), received=repr(value)
            )
    place = PlatformLocation(platform, **{fields[option]: value for option, value in where.items()})
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
