"""Initialization of a dynamic training: its settings, a copy of the Problem, and the compiled pipeline."""

from __future__ import annotations

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

from headrace.components.announce.destinations import check_destination
from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.problem import copies, places
from headrace.core.problem.file import load_problem
from headrace.core.steps import workspace
from headrace.pipelines.dynamic.machine import mark_of
from headrace.pipelines.dynamic.settings import DIGESTS, DynamicSettings, PlatformName
from headrace.pipelines.runs.local_root import absolute, check_root, check_writable, work_of
from headrace.pipelines.submission.place import PlatformLocation
from headrace.pipelines.submission.place import settings as settings_of

_OPTIONS = "options.toml"


def initialize(
    problem: str,
    root: str,
    *,
    platform: PlatformName = "local",
    place: PlatformLocation | None = None,
    allow_tags: bool = False,
    replace_settings: bool = False,
    **options: Any,
) -> DynamicSettings:
    """Checks and stores the settings of a dynamic training.

    Args:
        problem: path or gs:// URI of the Problem file; it is copied below the root.
        root: pipeline root: a folder of this machine, a bucket, or a path that is mounted for both tasks and triggers.
        platform: platform on which runs are executed.
        place: location of a platform other than "local", with its options file.
        allow_tags: whether images may have tags instead of digests.
        replace_settings: whether to replace other settings at this root; the ledger does not change.
        options: other fields of `DynamicSettings`.

    Returns:
        The stored settings.

    Raises:
        UserError: the Problem, an option or the root is not valid, or the root has other settings.
        PlatformError: the disk or the service failed; the same call may succeed later.
    """
    file = load_problem(problem)
    name = file.problem.name
    root = absolute(root)
    for destination in options.get("announce", ()):
        check_destination(destination)
    # Tasks and ticks have other working folders.
    options["announce"] = tuple(
        one if "://" in one else os.path.abspath(one)  # noqa: PTH100
        for one in options.get("announce", ())
    )
    if platform == "local":
        check_root(root, name, inputs={"--problem": problem})
        check_writable(root)
        options["machine"] = mark_of(root, name)
    registry, endpoint = _places(root, name, platform, place)
    if place is not None:
        options["traffic_log"], options["request_log"] = _logs(place, options.get("canary"))
    settings = DynamicSettings(
        name=name,
        problem=places.template(root),
        digests={digest: file.digests[digest] for digest in DIGESTS},
        root=root,
        registry=registry,
        endpoint=endpoint,
        platform=platform,
        place=place,
        **options,
    )
    settings.training.check(file.problem)
    if place is None and settings.canary is not None and settings.canary.needs_replay:
        _check_log(endpoint, settings.log_share)
    if place is not None:
        # Triggers read a copy of the options.
        settings = replace(settings, place=replace(place, options_file=storage.join(settings.folder, _OPTIONS)))
    settings.check_place(replace=replace_settings)
    files = {} if place is None else _compiled(settings, place, allow_tags)
    copies.write(copies.contents(file, root))
    # First, because the settings mark the folder. If the process is killed, the same call writes the missing files.
    written = settings.write(replace=replace_settings)
    for uri, content in files.items():
        storage.write_bytes(uri, content)
    return written


def _places(root: str, name: str, platform: PlatformName, place: PlatformLocation | None) -> tuple[str, str]:
    """Registry and endpoint of a problem on a platform."""
    if place is None or platform == "local":
        return workspace.registry_uri(root, name), workspace.endpoint_uri(work_of(root), name)
    from headrace.pipelines.submission.inputs import Target, destinations

    where = settings_of(place)
    return destinations(root, Target(platform, where.project, where.location, place.namespace), name)


def _logs(place: PlatformLocation, canary: CanarySettings | None) -> tuple[str, str]:
    """The traffic log of the options, and the request log; "" for a log that does not decide the canary.

    Raises:
        UsageError: the options are missing, or set the traffic although a canary decides, or set none without a canary.
    """
    from headrace.pipelines.platforms.options import build, read_options

    if not place.options_file:
        raise UsageError(
            "the platform's options are missing",
            where="--options",
            expected=f"a TOML file with the tables [images] and [{place.platform}]",
        )
    endpoint: Any
    table = read_options(place.options_file).get(place.platform, {})
    if place.platform == "vertex":
        from headrace.pipelines.platforms.vertex_options import VertexOptions

        endpoint = build(VertexOptions, table, "vertex").endpoint
    else:
        from headrace.pipelines.platforms.kubeflow_options import KubeflowOptions

        endpoint = build(KubeflowOptions, table, "kubeflow").endpoint
    where = f"{place.options_file}, [{place.platform}.endpoint]"
    if canary is None:
        if not endpoint.traffic:
            raise UsageError(
                "a new version gets no traffic, and nothing decides about it",
                where=where,
                expected="traffic from 1 to 100, or a canary",
                received="traffic = 0",
                fix="Give the canary to `headrace dynamic init`, such as --canary 10,50",
            )
        return "", ""
    aliases = getattr(endpoint, "aliases", ())
    if endpoint.traffic or not endpoint.traffic_log or "champion" in aliases:
        raise UsageError(
            "the options do not leave the decision to the canary",
            where=where,
            expected='traffic = 0, a traffic_log, and on Vertex AI aliases = ["challenger"]',
            received=f"traffic = {endpoint.traffic}, traffic_log = {endpoint.traffic_log!r}"
            + (f", aliases = {list(aliases)}" if aliases else ""),
        )
    if not canary.needs_replay:
        return str(endpoint.traffic_log), ""
    if not endpoint.request_log:
        raise UsageError(
            "the settings of the canary require replayed requests",
            where=where,
            expected="request_log, where the servers of both versions log a sample of their requests",
            received="no request_log",
            fix='Add it, such as request_log = "gs://BUCKET/requests", or leave minimum_replayed and '
            "maximum_differing at their defaults",
        )
    return str(endpoint.traffic_log), str(endpoint.request_log)


def _check_log(endpoint: str, log_share: float | None) -> None:
    """Refuses a canary that is decided by replayed requests where the endpoint, or the one to be made, logs none."""
    from headrace.components.rollout.replay import check_logged

    folder = EndpointFolder(endpoint)
    made = folder.read() if folder.path.is_dir() else None
    if made is not None:
        # A canary cannot change the fraction.
        check_logged(folder, made)
    elif not log_share:
        raise UsageError(
            "the settings of the canary require replayed requests, and the endpoint logs none",
            where="--request-log-share",
            expected="a fraction above 0, such as 0.1",
            received="no fraction" if log_share is None else f"{log_share:g}",
            fix="Give it, or leave minimum_replayed and maximum_differing at their defaults",
        )


def _compiled(settings: DynamicSettings, place: PlatformLocation, allow_tags: bool) -> dict[str, bytes]:
    """The compiled pipeline, and a copy of the options of `place`, by the URI next to the settings."""
    from headrace.pipelines.compiler import compile_to

    if place.platform == "vertex" and not settings.root.startswith("gs://"):
        raise UsageError("Vertex AI cannot read the path", where="--root", expected="gs://...", received=settings.root)
    with tempfile.TemporaryDirectory(prefix="headrace-") as folder:
        spec = Path(folder, "pipeline.yaml")
        compile_to("dynamic", place.platform, str(spec), options_file=place.options_file, allow_tags=allow_tags)
        compiled = spec.read_bytes()
    return {settings.spec: compiled, storage.join(settings.folder, _OPTIONS): storage.read_bytes(place.options_file)}
