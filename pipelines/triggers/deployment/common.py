"""Deployment of a trigger: common parts of functions and services, and the rights of its account."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from headrace.core import storage
from headrace.core.errors import UsageError
from headrace.core.storage.files import write_bytes
from headrace.pipelines.dynamic.settings import DynamicSettings
from headrace.pipelines.submission.place import settings as settings_of

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]\Z")
_REGION = re.compile(r"[a-z]+-[a-z]+[0-9]+\Z")
_NAME = re.compile(r"[a-z]([a-z0-9-]{0,47}[a-z0-9])?\Z")
_ACCOUNT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]\Z")
_MARK = "headrace trigger"


@dataclass(frozen=True)
class Deployment:
    """A trigger on Google Cloud.

    Args:
        settings: settings of the dynamic training, whose root is on gs://.
        project: ID of the project.
        region: region, such as europe-west1.
        name: name of the function or the service.
        account: service account of the trigger, without @PROJECT.iam.gserviceaccount.com; the commands create it.
        requirement: pip requirement that installs headrace; "" for this version.

    Raises:
        UsageError: an option is not valid, or the training is not on Google Cloud.
    """

    settings: DynamicSettings
    project: str
    region: str
    name: str
    account: str = "headrace-trigger"
    requirement: str = ""

    def __post_init__(self) -> None:
        for option, value, pattern, expected in (
            ("--project", self.project, _PROJECT, "the ID of a project"),
            ("--region", self.region, _REGION, "a region, such as europe-west1"),
            ("--name", self.name, _NAME, "at most 49 of a-z, 0-9 and dashes, starting with a letter"),
            ("--account", self.account, _ACCOUNT, "6 to 30 of a-z, 0-9 and dashes: the part before the @"),
        ):
            if not pattern.match(value):
                raise UsageError("the option is not valid", where=option, expected=expected, received=repr(value))
        if not storage.is_remote(self.settings.root):
            raise UsageError(
                "a trigger on Google Cloud needs a training whose root is there",
                where=self.settings.uri,
                expected="a root on gs://",
                received=self.settings.root,
                fix="On one machine, use `headrace watch`, `headrace trigger serve` or cron",
            )
        if self.settings.platform == "local":
            raise UsageError(
                "a trigger on Google Cloud cannot start runs on this machine",
                where=self.settings.uri,
                expected="a training on vertex or kubeflow",
                received="local",
            )

    @property
    def member(self) -> str:
        """The account, as a member of an IAM policy."""
        return f"serviceAccount:{self.email}"

    @property
    def email(self) -> str:
        """The account's e-mail address."""
        return f"{self.account}@{self.project}.iam.gserviceaccount.com"

    def services(self, *names: str) -> str:
        """The command that enables services of Google Cloud, by their names without .googleapis.com."""
        return command("services", "enable", *(f"{name}.googleapis.com" for name in names), project=self.project)

    def rights(self, data: Sequence[str]) -> list[str]:
        """The commands that create the account, and allow it to read data, change the ledger and start runs.

        Args:
            data: gs:// URIs of the data.
        """
        root = _bucket(self.settings.root)
        lines = [
            "# The account of the trigger: it reads data, changes the ledger, and starts runs.",
            command(
                "iam", "service-accounts", "create", self.account, project=self.project, display_name="headrace trigger"
            ),
            self.on_bucket(root, "storage.objectUser"),
            *(self.on_bucket(bucket, "storage.objectViewer") for bucket in sorted({*map(_bucket, data)} - {root})),
        ]
        place = self.settings.place
        if place is None or place.platform != "vertex":
            return [*lines, "# Runs are on Kubeflow: its API must be reachable from there, with the token of its user."]
        vertex = settings_of(place)
        project = vertex.project or self.project
        lines.append(self.on_project(project, "aiplatform.user"))
        if vertex.service_account:
            lines += [
                "# It may start runs under the account of the runs, and under no other one.",
                command(
                    "iam",
                    "service-accounts",
                    "add-iam-policy-binding",
                    vertex.service_account,
                    project=project,
                    member=self.member,
                    role="roles/iam.serviceAccountUser",
                ),
            ]
        return lines

    def on_bucket(self, bucket: str, role: str) -> str:
        """The command that grants the account a role on a bucket."""
        return command("storage", "buckets", "add-iam-policy-binding", bucket, member=self.member, role=f"roles/{role}")

    def on_project(self, project: str, role: str) -> str:
        """The command that grants the account a role on a project."""
        return command(
            "projects", "add-iam-policy-binding", project, member=self.member, role=f"roles/{role}", condition="None"
        )

    def requirements(self, *extras: str) -> str:
        """The content of requirements.txt."""
        wanted = self.requirement or f"headrace[{','.join(extras)}]=={metadata.version('headrace')}"
        return f"{wanted}\n"


def command(*words: str, **options: str) -> str:
    """A command line of gcloud, quoted for a shell. Options without a value are flags."""
    named = [
        f"--{name.replace('_', '-')}={value}" if value else f"--{name.replace('_', '-')}"
        for name, value in options.items()
    ]
    return shlex.join(["gcloud", *words, *named])


def variables(values: Mapping[str, str]) -> str:
    """Environment variables in the syntax of gcloud, with a separator that no value contains."""
    separator = next(each for each in (",", "@", "#", ";", "~") if not any(each in value for value in values.values()))
    joined = separator.join(f"{name}={value}" for name, value in values.items())
    return joined if separator == "," else f"^{separator}^{joined}"


def write_folder(folder: str, files: Mapping[str, str]) -> None:
    """Writes the deployed folder. It replaces only files of an earlier call.

    Args:
        folder: path of the folder.
        files: content by file name.

    Raises:
        UsageError: an existing file was not written by an earlier call, or the folder cannot be written.
    """
    path = storage.local_path(folder)
    for name in files:
        there = path / name
        if there.exists() and _MARK not in there.read_text("utf-8", "replace").partition("\n")[0]:
            raise UsageError(
                "the file exists, and was not written by this command",
                where=str(there),
                fix="Choose another folder, or move the file away",
            )
    with storage.writing(folder):
        path.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_bytes(str(Path(path) / name), f"# Written by `{_MARK}`.\n{content}".encode())


def _bucket(uri: str) -> str:
    return "/".join(uri.split("/", 3)[:3])
