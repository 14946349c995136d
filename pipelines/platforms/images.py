"""Container images of tasks, pinned by digest."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from headrace.core.errors import UsageError

# The role of a task decides its image and machine. It is the name of its component.
Role = Literal[
    "claim",
    "preprocess",
    "ingest",
    "lineage",
    "train",
    "study",
    "tune",
    "best",
    "evaluate",
    "monitor",
    "register",
    "deploy",
    "announce",
    "rollback",
    "canary",
    "renew",
    "summarize",
    "conclude",
    "tick",
    "resolve",
    "champion",
    "prepare",
    "score",
    "check",
    "publish",
    "notify",
]
ROLES: tuple[Role, ...] = get_args(Role)
# Roles that only pipelines for Vertex AI have.
VERTEX_ALONE: tuple[Role, ...] = ("study", "best", "prepare")

# The grammar of references in the OCI distribution specification, without the implied registry.
_NAME = r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9]+([._-]+[a-z0-9]+)*)+"
_TAG = r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"
_BY_DIGEST = re.compile(rf"{_NAME}(:{_TAG})?@sha256:[0-9a-f]{{64}}\Z")
_BY_TAG = re.compile(rf"{_NAME}:{_TAG}\Z")

# Rows and predictions are read in the image with Beam, models in the trainer's; all other roles are light work.
_IMAGE_OF: dict[Role, str] = {
    "preprocess": "beam",
    "ingest": "beam",
    # Both measure the rows.
    "champion": "beam",
    "resolve": "beam",
    "prepare": "beam",
    "score": "beam",
    "monitor": "beam",
    # A replay loads both versions, and labels are rows.
    "canary": "beam",
    # Both verify files by their checksums.
    "check": "beam",
    "publish": "beam",
    "evaluate": "train",
    "train": "train",
    "tune": "train",
}
# Roles of dynamic training that take steps of a canary, which load both versions if logged requests are replayed.
_STEPS_OF_CANARY: tuple[Role, ...] = ("renew", "conclude", "tick")


@dataclass(frozen=True)
class Images:
    """The images of a release.

    Attributes:
        beam: preprocesses, scores, publishes predictions, and replays requests, in a pipeline's task.
        train: trains and evaluates.
        serve: serves predictions.
        worker: the beam image with Beam's boot program, from which a service starts workers; "" if not needed.
        light: registers, deploys and summarizes; the beam image if empty.
        allow_tags: whether images may have a tag, which may change, instead of a digest.

    Raises:
        UsageError: an image without a digest, or a missing image.
    """

    beam: str
    train: str
    serve: str
    worker: str = ""
    light: str = ""
    allow_tags: bool = False

    def __post_init__(self) -> None:
        for known in fields(self):
            image = getattr(self, known.name)
            if known.name == "allow_tags" or (known.name in ("worker", "light") and not image):
                continue
            check_image(image, f"images.{known.name}", allow_tags=self.allow_tags)

    def of(self, role: Role, *, replays: bool = False) -> str:
        """The image of a task.

        Args:
            role: of the task.
            replays: whether a canary of dynamic training may be decided by replayed requests.
        """
        if replays and role in _STEPS_OF_CANARY:
            return self.beam
        image: str = getattr(self, _IMAGE_OF.get(role, "light"))
        return image or self.beam

    def worker_of(self, runner: str) -> str:
        """The image of a runner's workers.

        Args:
            runner: the name of the Beam runner, for a message.

        Raises:
            UsageError: it is missing. The beam image would not work: its workers would never respond to the runner.
        """
        if not self.worker:
            raise UsageError(
                f"the image is missing for the workers of {runner}",
                where="[images]",
                expected="worker, which is the image beam-worker: the beam image with Beam's boot program",
                received="no worker",
                fix="Build it with `make images IMAGES=beam-worker`, push it, and set worker to its digest",
            )
        return self.worker


def check_image(image: str, where: str, *, allow_tags: bool = False) -> None:
    """Refuses an image without a digest.

    Raises:
        UsageError: the image has no digest.
    """
    if _BY_DIGEST.match(image) or (allow_tags and _BY_TAG.match(image)):
        return
    tagged = bool(_BY_TAG.match(image))
    raise UsageError(
        "the image has a tag instead of a digest" if tagged else "the image name is not valid",
        where=where,
        expected="REGISTRY/NAME@sha256:DIGEST, which never changes",
        received=repr(image),
        fix="Use the digest that the push printed, or allow tags with --allow-tags" if tagged else None,
    )


def is_ours(task: Any) -> bool:
    """Whether a task of a pipeline runs a component of headrace: its container, or that of its job, imports it."""
    spec = task.component_spec
    container = getattr(spec.implementation, "container", None)
    pools = (spec.inputs or {}).get("worker_pool_specs")
    return "headrace.components." in f"{getattr(container, 'command', '')} {getattr(pools, 'default', '')}"


def role_of(name: str) -> Role:
    """The role of a component or of a task.

    Args:
        name: of the component, optionally with a number, as in names of tasks.

    Raises:
        ValueError: the role is unknown.
    """
    plain = re.sub(r"-[0-9]+$", "", name)
    for role in ROLES:
        if role == plain:
            return role
    raise ValueError(f"{name!r} must be one of {', '.join(ROLES)}")
