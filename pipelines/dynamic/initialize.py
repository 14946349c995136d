"""Initialization of a dynamic training: its settings, a copy of the Problem, and the compiled pipeline."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any

from headrace.components.announce.destinations import check_destination
from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.problem import copies, places
from headrace.core.problem.file import load_problem
from headrace.core.steps import workspace
from headrace.pipelines.dynamic.settings import DIGESTS, DynamicSettings, PlatformName
from headrace.pipelines.submission.place import Place
from headrace.pipelines.submission.place import settings as settings_of

_OPTIONS = "options.toml"


def initialize(
    problem: str,
    root: str,
    *,
    platform: PlatformName = "local",
    place: Place | None = None,
    allow_tags: bool = False,
    replace_settings: bool = False,
    **options: Any,
) -> DynamicSettings:
    """Checks and stores the settings of a dynamic training.

    Args:
        problem: the Problem file, local or on gs://; it is copied below the root.
        root: pipeline root: a folder of this machine, or a URI or a mounted path that tasks and triggers reach alike.
        platform: where runs are executed.
        place: of a platform other than "local", with its options file.
        allow_tags: whether images may have tags instead of digests.
        replace_settings: whether other settings there are replaced; the ledger stays.
        options: other fields of `DynamicSettings`.

    Raises:
        UserError: the Problem, an option or the root is not valid, or there are other settings.
        PlatformError: the disk or the service failed; the same call may succeed later.
    """
    file = load_problem(problem)
    name = file.problem.name
    if platform == "local" or not storage.is_remote(root):
        root = os.path.abspath(storage.local_path(root))  # noqa: PTH100
    for destination in options.get("announce", ()):
        check_destination(destination)
    # Tasks and ticks have other working folders.
    options["announce"] = tuple(
        one if "://" in one else os.path.abspath(one)  # noqa: PTH100
        for one in options.get("announce", ())
    )
    if platform == "local":
        from headrace.pipelines.runs.local_root import check_root, check_writable

        check_root(root, name, inputs={"--problem": problem})
        check_writable(root)
    registry, endpoint = _places(root, name, platform, place)
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
    if place is not None:
        # Triggers read a copy of the options.
        settings = replace(settings, place=replace(place, options_file=storage.join(settings.folder, _OPTIONS)))
    settings.check_place(replace=replace_settings)
    if place is not None:
        _compile(settings, place, allow_tags)
    copies.write(copies.contents(file, root))
    return settings.write(replace=replace_settings)


def _places(root: str, name: str, platform: PlatformName, place: Place | None) -> tuple[str, str]:
    """Registry and endpoint of a problem on a platform."""
    if place is None or platform == "local":
        return workspace.registry_uri(root, name), workspace.endpoint_uri(root, name)
    from headrace.pipelines.submission.inputs import Target, destinations

    where = settings_of(place)
    return destinations(root, Target(platform, where.project, where.location, place.namespace), name)


def _compile(settings: DynamicSettings, place: Place, allow_tags: bool) -> None:
    """Compiles the pipeline next to the settings, with a copy of the options of `place`."""
    from headrace.pipelines.compiler import compile_to

    if not place.options_file:
        raise UsageError(
            "the platform's options are missing",
            where="--options",
            expected=f"a TOML file with the tables [images] and [{place.platform}]",
        )
    if place.platform == "vertex" and not settings.root.startswith("gs://"):
        raise UsageError("Vertex AI cannot read the path", where="--root", expected="gs://...", received=settings.root)
    compile_to("dynamic", place.platform, settings.spec, options_file=place.options_file, allow_tags=allow_tags)
    storage.write_bytes(storage.join(settings.folder, _OPTIONS), storage.read_bytes(place.options_file))
