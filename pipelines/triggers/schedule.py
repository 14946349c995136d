"""Schedule of a dynamic training on its platform: a compiled pipeline of one task, which calls the pump."""

from __future__ import annotations

from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.retry import RetryPolicy
from headrace.pipelines.compiler import compile_to
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.lint.spec import read_spec
from headrace.pipelines.submission import inputs, submitting
from headrace.pipelines.submission.place import PlatformLocation, service
from headrace.pipelines.submission.place import settings as settings_of
from headrace.pipelines.submission.run import Schedule, Submission

PIPELINE = "dynamic-tick"


def put_schedule(
    settings: DynamicSettings, cron: str, timezone: str, *, request: bool = False, allow_tags: bool = False
) -> tuple[Schedule, bool]:
    """Creates or updates the schedule of a dynamic training.

    Args:
        settings: settings of the dynamic training, on Vertex AI or Kubeflow.
        cron: cron expression: minute, hour, day of the month, month, day of the week.
        timezone: time zone of the cron expression.
        request: whether each tick requests a training, in addition to starting what is due.
        allow_tags: whether images may have tags instead of digests.

    Returns:
        The schedule, whose name is that of the training with "-tick", and whether it is new.

    Raises:
        UsageError: the training is on this machine, an option is not valid, or the platform rejects the schedule.
        PlatformError: the platform failed; the same call may succeed later.
    """
    place = settings.place
    if place is None:
        raise UsageError(
            "a training on this machine has no schedule of a platform",
            where=settings.uri,
            expected="vertex or kubeflow",
            received=settings.platform,
            fix="Use cron: headrace trigger cron",
        )
    spec = storage.join(settings.folder, "tick.yaml")
    compile_to(PIPELINE, place.platform, spec, options_file=place.options_file, allow_tags=allow_tags)
    submission = _submission(settings, place, spec, request=request)
    name = f"{settings.name.replace('_', '-').lower()}-tick"
    with service(place) as opened:
        return submitting.put_schedule(opened, name, cron, timezone, submission, RetryPolicy())


def _submission(settings: DynamicSettings, place: PlatformLocation, spec: str, *, request: bool) -> Submission:
    common = settings_of(place)
    read = read_spec(spec)
    platforms = [{"platforms": dict(read.platform)}] if read.platform and place.platform == "kubeflow" else []
    return Submission(
        documents=[dict(read.pipeline), *platforms],
        name=read.name,
        parameters={"ledger": settings.folder, "request": request},
        pipeline_root=inputs.pipeline_root(settings.root, read.pipeline, place.platform),
        labels=dict(common.labels),
        service_account=common.service_account,
    )
