"""Settings of one dynamic training: the Problem, its locations, and the rules by which models are trained and replaced.

They are stored as settings.json in ROOT/dynamic/NAME, next to the ledger. `headrace dynamic init` copies the Problem
file below the root, so an edited Problem applies from the next `headrace dynamic init`, never in the middle of a run.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.components.evaluate.contest.challenge import Challenge
from headrace.components.ingest.window import Window
from headrace.components.train.request import TrainingRequest
from headrace.core import storage
from headrace.core.artifacts.kinds import DYNAMIC
from headrace.core.checks import check_count, check_fraction, check_positive, check_texts, check_word, is_finite
from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.ledger import Ledger
from headrace.core.ledger.retries import Retries
from headrace.core.sources.csv_dialect import CsvDialect
from headrace.core.steps import workspace
from headrace.core.storage.compare_and_set import json_of, read_with_token, update_json
from headrace.core.storage.output_check import check_output
from headrace.pipelines.dynamic.canary_check import check_canary, check_deadline
from headrace.pipelines.submission.place import PlatformLocation

PlatformName = Literal["local", "vertex", "kubeflow"]
PLATFORMS: tuple[PlatformName, ...] = ("local", "vertex", "kubeflow")
# Digests against which tasks check the Problem file.
DIGESTS = ("problem_digest", "schema_digest", "training_digest", "evaluation_digest")
_FORMAT = 1


@dataclass(frozen=True)
class DynamicSettings:
    """Settings of a dynamic training.

    Args:
        name: name of the Problem.
        problem: URI of the copy of the Problem file below the root, which tasks read.
        digests: `problem_digest`, `schema_digest`, `training_digest` and `evaluation_digest` of the Problem file.
        root: pipeline root, an absolute path or a URI, below which everything is stored.
        registry, endpoint: registry and endpoint of the models, on the platform.
        platform: platform on which runs are executed.
        place: location on a platform other than "local", with a copy of the options file below the root; else None.
        csv: options of reading CSV, as NAME=VALUE.
        last_spans, last_days, half_life: window of spans that training reads, as of `headrace ingest`.
        withdrawn: names of spans, or data versions, that are excluded from training.
        training: options of each training.
        from_scratch_every: number of versions of which one is trained from scratch; 0 for never, 1 for always.
        challenge: rule by which a challenger is compared with the champion.
        canary: settings of the canary; None deploys without a canary.
        watch_by_ticks: whether ticks run the steps of a canary on an endpoint of this machine; otherwise, a task of the
            run watches it until it ends. On a service, ticks always run them.
        traffic_log: URI to which a service's servers write the counts that decide a canary; "" without a canary.
        request_log: URI to which a service's servers log requests, for a canary that a replay decides; "" for none.
        log_share: fraction of the predicted rows that an endpoint of this machine logs, in [0, 1]; None does not change
            the endpoint's setting.
        deadline_hours: maximum duration of a run, in hours; 0 for no deadline.
        training_share: maximum fraction of the deadline that training uses, in (0, 1).
        announce: destinations of model events, as of `headrace registry promote --announce`.
        attempts: number of failed runs of a data version after which it is given up, 1 or more.
        retry_minutes: wait after the first failure, in minutes; it doubles with each further failure, up to an hour.
        machine: on the platform local with a root in a bucket, the mark of the working folder of the runs; else "".

    Raises:
        UsageError: a value is not valid.
    """

    name: str
    problem: str
    digests: Mapping[str, str]
    root: str
    registry: str
    endpoint: str
    platform: PlatformName = "local"
    place: PlatformLocation | None = None
    csv: tuple[str, ...] = ()
    last_spans: int = 0
    last_days: int = 0
    half_life: float = 0.0
    withdrawn: tuple[str, ...] = ()
    training: TrainingRequest = field(default_factory=TrainingRequest)
    from_scratch_every: int = 0
    challenge: Challenge = field(default_factory=Challenge)
    canary: CanarySettings | None = None
    watch_by_ticks: bool = False
    traffic_log: str = ""
    request_log: str = ""
    log_share: float | None = None
    deadline_hours: float = 0.0
    training_share: float = 2 / 3
    announce: tuple[str, ...] = ()
    attempts: int = 5
    retry_minutes: float = 1.0
    machine: str = ""

    def __post_init__(self) -> None:
        where = "settings of dynamic training"
        for name in ("name", "problem", "root", "registry", "endpoint"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise UsageError(f"{name} is empty", where=where, expected="text")
        if not isinstance(self.digests, Mapping) or set(self.digests) != set(DIGESTS):
            raise UsageError(
                "the digests of the Problem are wrong",
                where=where,
                expected=", ".join(DIGESTS),
                received=", ".join(sorted(map(str, self.digests))) or "none",
            )
        check_word(self.platform, "platform", PLATFORMS, where=where)
        if (self.platform == "local") != (self.place is None):
            raise UsageError("the place is wrong", where=where, expected="a place, but for the platform local")
        if self.platform != "local" and self.log_share is not None:
            raise UsageError(
                "the fraction that is logged is of an endpoint of this machine",
                where=where,
                expected="no log_share, but on the platform local",
                received=self.platform,
            )
        check_canary(
            self.canary,
            where=where,
            of_service=self.platform != "local",
            by_ticks=self.watch_by_ticks,
            traffic_log=self.traffic_log,
            request_log=self.request_log,
        )
        if self.place is not None and self.place.platform != self.platform:
            raise UsageError("the place is of another platform", where=where, received=self.place.platform)
        # They check themselves.
        Window(self.last_spans, self.last_days)
        CsvDialect.parse(self.csv)
        check_texts(self.withdrawn, "withdrawn", where=where)
        check_texts(self.announce, "announce", where=where)
        if self.half_life:
            check_positive(self.half_life, "half_life", where=where)
        if self.training.warm_start:
            raise UsageError(
                "the warm start is chosen for each run", where=where, expected="training without warm_start"
            )
        check_count(self.from_scratch_every, "from_scratch_every", minimum=0, where=where)
        if self.log_share is not None:
            check_fraction(self.log_share, "log_share", where=where)
        if not is_finite(self.training_share) or not 0 < self.training_share < 1:
            raise UsageError(
                "training_share is wrong",
                where=where,
                expected="a fraction above 0 and below 1: time is left to test and to deploy",
                received=repr(self.training_share),
            )
        check_count(self.attempts, "attempts", where=where)
        check_positive(self.retry_minutes, "retry_minutes", where=where)
        if self.deadline_hours:
            check_positive(self.deadline_hours, "deadline_hours", where=where)
            check_deadline(self.canary, (1 - self.training_share) * self.deadline_hours * 3600, where)

    @property
    def folder(self) -> str:
        """URI of its folder, with settings.json, ledger.json, inbox/ and lineage/."""
        return workspace.dynamic_uri(self.root, self.name)

    @property
    def uri(self) -> str:
        """URI of settings.json."""
        return storage.join(self.folder, DYNAMIC.state)

    @property
    def spec(self) -> str:
        """URI of the compiled pipeline, for a platform other than "local"."""
        return storage.join(self.folder, "pipeline.yaml")

    @property
    def ledger(self) -> Ledger:
        """The ledger."""
        return Ledger(self.folder)

    @property
    def retries(self) -> Retries:
        """Retry policy of failed runs."""
        first = timedelta(minutes=self.retry_minutes)
        return Retries(self.attempts, first, max(first, timedelta(hours=1)))

    def to_json(self) -> dict[str, Any]:
        """The content of settings.json."""
        plain = {known.name: getattr(self, known.name) for known in dataclasses.fields(self)}
        return {
            "kind": "DynamicSettings",
            "format": _FORMAT,
            **plain,
            "digests": dict(sorted(self.digests.items())),
            "place": None if self.place is None else dataclasses.asdict(self.place),
            "training": self.training.to_json(),
            "challenge": self.challenge.to_json(),
            "canary": None if self.canary is None else self.canary.to_json(),
            **{name: list(plain[name]) for name in ("csv", "withdrawn", "announce")},
        }

    @staticmethod
    def from_json(content: Any, where: str) -> DynamicSettings:
        """The settings from the result of `to_json`.

        Args:
            content: the JSON object.
            where: URI of its file, for an error.

        Raises:
            DataError: the content is damaged.
            UsageError: a value is not valid.
        """
        try:
            plain = dict(content)
            if (plain.pop("kind"), plain.pop("format")) != ("DynamicSettings", _FORMAT):
                raise ValueError(f"not settings of format {_FORMAT}")
            place, canary = plain.pop("place"), plain.pop("canary")
            lists: dict[str, Any] = {name: tuple(plain.pop(name)) for name in ("csv", "withdrawn", "announce")}
            return DynamicSettings(
                place=None if place is None else PlatformLocation(**place),
                canary=None if canary is None else CanarySettings.from_json(canary),
                challenge=Challenge.from_json(plain.pop("challenge")),
                training=TrainingRequest.from_json(plain.pop("training")),
                **lists,
                **plain,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(
                "the settings are damaged",
                where=where,
                expected=f"settings of format {_FORMAT}",
                received=f"{type(error).__name__}: {error}",
                fix="Write them again with `headrace dynamic init --replace`",
            ) from error

    def check_place(self, *, replace: bool = False) -> None:
        """Checks that the settings may be written. Arguments and errors as of `write`."""
        check_output(self.folder, DYNAMIC, option="--root")
        found = read_with_token(self.uri)
        if found is not None:
            self._after(json_of(found.content, self.uri), replace=replace)

    def write(self, *, replace: bool = False) -> DynamicSettings:
        """Stores the settings, by compare-and-set.

        Withdrawn spans stay withdrawn; only `change` includes a span again.

        Args:
            replace: whether to replace other settings at this root; the ledger does not change.

        Returns:
            The settings that are stored now.

        Raises:
            UsageError: there are other settings and `replace` is False, or the folder contains something else.
            PlatformError: the disk or the service failed; writing again is safe.
        """
        self.check_place(replace=replace)
        after = update_json(self.uri, lambda before: self._after(before, replace=replace))
        return DynamicSettings.from_json(after, self.uri)

    def _after(self, before: Any, *, replace: bool) -> dict[str, Any]:
        """The content of settings.json after `before`, which may be damaged."""
        listed = before.get("withdrawn") if isinstance(before, Mapping) else None
        there = [name for name in listed if isinstance(name, str)] if isinstance(listed, list) else []
        content = self.to_json()
        content["withdrawn"] = [*there, *(name for name in self.withdrawn if name not in there)]
        if before is not None and before != content and not replace:
            raise UsageError(
                "the dynamic training exists, with other settings",
                where=self.uri,
                fix="--replace changes its settings, and does not change its models and its ledger",
            )
        return content


def change(settings: DynamicSettings, fields: Callable[[DynamicSettings], Mapping[str, Any]]) -> DynamicSettings:
    """Changes fields of the stored settings, by compare-and-set; returns the settings that are stored now.

    Args:
        settings: settings of the dynamic training, which may be out of date.
        fields: maps the stored settings to the new values, by field name; may be called several times.

    Raises:
        UsageError: a value is not valid.
        PlatformError: the disk or the service failed; making the change again is safe.
    """

    def changed(content: Any) -> Any:
        now = DynamicSettings.from_json(content, settings.uri)
        return dataclasses.replace(now, **fields(now)).to_json()

    return DynamicSettings.from_json(update_json(settings.uri, changed), settings.uri)


def read(uri: str) -> DynamicSettings:
    """Reads the settings.

    Args:
        uri: path or URI of settings.json, of its folder, or of a root with one dynamic training.

    Raises:
        UsageError: the root has no dynamic training, or several.
        DataError: the settings are damaged.
        PlatformError: the disk or the service failed.
    """
    for place in (uri, storage.join(uri, DYNAMIC.state)):
        if place.endswith(f"/{DYNAMIC.state}") or place == DYNAMIC.state:
            found = read_with_token(place)
            if found is not None:
                return DynamicSettings.from_json(json_of(found.content, place), place)
    names = sorted(_names(storage.join(uri, "dynamic")))
    if len(names) == 1:
        return read(storage.join(uri, "dynamic", names[0]))
    raise UsageError(
        "the root has several dynamic trainings" if names else "the root has no dynamic training",
        where=uri,
        expected="a root, or ROOT/dynamic/NAME",
        received=", ".join(names) or None,
        fix="Name one of them" if names else "Write its settings: headrace dynamic init --problem FILE --root ROOT",
    )


def _names(folder: str) -> list[str]:
    if storage.is_remote(folder):
        return [
            name for name in storage.names_below(folder) if storage.exists(storage.join(folder, name, DYNAMIC.state))
        ]
    path = storage.local_path(folder)
    return [entry.name for entry in path.iterdir() if (entry / DYNAMIC.state).is_file()] if path.is_dir() else []
