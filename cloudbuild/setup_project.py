"""Project setup of Google Cloud for headrace: APIs, registries, a bucket, two accounts with their roles, and triggers.

It generates an idempotent bash script, and runs it; with --print it prints it instead.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TRIGGERS = Path(__file__).resolve().parent / "triggers"
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_REPOSITORY = re.compile(r"[A-Za-z0-9_-]+/[A-Za-z0-9_-]+")
_DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")

# Each API, and its purpose.
APIS = {
    "aiplatform.googleapis.com": "pipelines, custom jobs, the model registry, endpoints",
    "artifactregistry.googleapis.com": "images and compiled specs",
    "cloudbuild.googleapis.com": "builds and their triggers",
    "compute.googleapis.com": "the machines of Vertex AI and Dataflow",
    "iam.googleapis.com": "the two accounts",
    "logging.googleapis.com": "logs of builds and tasks",
    "storage.googleapis.com": "the bucket",
}
# Further APIs, by option.
MORE_APIS = {
    "dataflow": ("dataflow.googleapis.com",),
    "bigquery": ("bigquery.googleapis.com", "bigquerystorage.googleapis.com"),
    "scan": ("ondemandscanning.googleapis.com",),
    "triggers": ("pubsub.googleapis.com", "secretmanager.googleapis.com"),
}
# Roles on the project. The build's account submits and schedules; tasks, jobs and endpoints use the run's account.
BUILD_ROLES = {
    "roles/aiplatform.user": "submits runs and sets schedules",
    "roles/logging.logWriter": "writes the build's log",
}
RUN_ROLES = {
    "roles/aiplatform.user": "starts custom jobs, uploads models, deploys",
    "roles/logging.logWriter": "writes the tasks' logs",
}
MORE_BUILD_ROLES = {
    "scan": {"roles/ondemandscanning.admin": "scans the images that it pushed"},
}
MORE_RUN_ROLES = {
    "dataflow": {"roles/dataflow.developer": "starts jobs", "roles/dataflow.worker": "runs their workers"},
    "bigquery": {
        "roles/bigquery.jobUser": "runs queries",
        "roles/bigquery.readSessionUser": "reads tables through the Storage Read API",
        "roles/bigquery.dataViewer": "reads the rows; grant it on single datasets instead to restrict access",
    },
}
# Role on the dataset of predictions alone: the sink bigquery creates, loads, replaces and deletes tables there.
DATASET_ROLE = "roles/bigquery.dataEditor"
# Roles on the bucket: objects, and the bucket's metadata, which clients read before they write.
BUCKET_ROLES = ("roles/storage.objectUser", "roles/storage.legacyBucketReader")


@dataclass(frozen=True)
class Setup:
    """Options of the setup.

    Attributes:
        project: its id.
        region: of everything.
        bucket: its name.
        extras: dataflow, bigquery, scan.
        repository: CONNECTION/REPOSITORY of Cloud Build, for the triggers, or "".
        dataset: of BigQuery, for predictions; used with the extra bigquery.

    Raises:
        ValueError: Google Cloud would reject a name.
    """

    project: str
    region: str
    bucket: str
    extras: tuple[str, ...] = ()
    repository: str = ""
    dataset: str = "headrace"

    def __post_init__(self) -> None:
        # The names are used in shell commands without quotes.
        for name, pattern in (
            ("project", _PROJECT),
            ("region", _REGION),
            ("bucket", _BUCKET),
            ("dataset", _DATASET),
        ):
            value = getattr(self, name)
            if not pattern.fullmatch(value):
                raise ValueError(f"{name} must match {pattern.pattern}, got {value!r}")
        if self.repository and not _REPOSITORY.fullmatch(self.repository):
            raise ValueError(f"repository must be CONNECTION/REPOSITORY, got {self.repository!r}")

    def account(self, name: str) -> str:
        """The email address of an account of this project."""
        return f"headrace-{name}@{self.project}.iam.gserviceaccount.com"

    def member(self, name: str) -> str:
        """The account as an IAM principal."""
        return f"serviceAccount:{self.account(name)}"


def script(setup: Setup) -> Iterator[str]:
    """Yields the commands of the script, one per line, with comments between them; they are idempotent."""
    yield "set -euo pipefail"
    # A binding to a new account may fail until the account is visible.
    yield 'again() { for _ in 1 2 3 4 5; do "$@" >/dev/null && return; sleep 10; done; "$@" >/dev/null; }'
    yield from _apis(setup)
    yield from _places(setup)
    yield from _accounts(setup)
    yield from _roles(setup)
    if "bigquery" in setup.extras:
        yield from _dataset(setup)
    if setup.repository:
        yield from _triggers(setup)


def _apis(setup: Setup) -> Iterator[str]:
    yield ""
    for api, why in APIS.items():
        yield f"# {api}: {why}"
    wanted = [*APIS, *(api for extra in _extras(setup) for api in MORE_APIS[extra])]
    yield f"gcloud services enable {' '.join(wanted)} --project={setup.project}"


def _extras(setup: Setup) -> list[str]:
    return [*setup.extras, *(["triggers"] if setup.repository else [])]


def _places(setup: Setup) -> Iterator[str]:
    where = f"--location={setup.region} --project={setup.project}"
    for name, kind, what in (
        ("headrace", "docker", "images, and the cache of their layers"),
        ("headrace-specs", "kfp", "compiled pipelines"),
    ):
        yield ""
        yield f"# {what}"
        yield (
            f"gcloud artifacts repositories describe {name} {where} >/dev/null 2>&1 || "
            f"gcloud artifacts repositories create {name} --repository-format={kind} {where}"
        )
    yield ""
    yield "# releases, Problem files, outputs of runs; and optionally incoming data"
    yield (
        f"gcloud storage buckets describe gs://{setup.bucket} --project={setup.project} >/dev/null 2>&1 || "
        f"gcloud storage buckets create gs://{setup.bucket} --location={setup.region} --project={setup.project} "
        "--uniform-bucket-level-access --public-access-prevention"
    )


def _accounts(setup: Setup) -> Iterator[str]:
    for name, what in (("build", "builds, releases, submits"), ("run", "account of tasks, jobs and endpoints")):
        yield ""
        yield f"# {what}"
        yield (
            f"gcloud iam service-accounts describe {setup.account(name)} --project={setup.project} >/dev/null 2>&1 || "
            f"gcloud iam service-accounts create headrace-{name} --project={setup.project}"
        )


def _roles(setup: Setup) -> Iterator[str]:
    build, run = setup.member("build"), setup.member("run")
    build_roles, run_roles = dict(BUILD_ROLES), dict(RUN_ROLES)
    for extra in setup.extras:
        build_roles |= MORE_BUILD_ROLES.get(extra, {})
        run_roles |= MORE_RUN_ROLES.get(extra, {})
    for title, member, roles in (("the build", build, build_roles), ("runs", run, run_roles)):
        yield ""
        for role, why in roles.items():
            yield f"# {title}: {why}"
            yield (
                f"again gcloud projects add-iam-policy-binding {setup.project} --member={member} --role={role} "
                "--condition=None"
            )
    yield ""
    yield "# the build pushes images and specs; runs pull images"
    for repository, member, role in (
        ("headrace", build, "roles/artifactregistry.writer"),
        ("headrace-specs", build, "roles/artifactregistry.writer"),
        ("headrace", run, "roles/artifactregistry.reader"),
    ):
        yield (
            f"again gcloud artifacts repositories add-iam-policy-binding {repository} --location={setup.region} "
            f"--project={setup.project} --member={member} --role={role}"
        )
    yield ""
    yield "# both read and write the bucket"
    for member in (build, run):
        for role in BUCKET_ROLES:
            yield (
                f"again gcloud storage buckets add-iam-policy-binding gs://{setup.bucket} "
                f"--member={member} --role={role}"
            )
    yield ""
    yield "# the build may submit runs with the run's account, and a run may start jobs with its own account"
    for member in (build, run):
        yield (
            f"again gcloud iam service-accounts add-iam-policy-binding {setup.account('run')} "
            f"--project={setup.project} --member={member} --role=roles/iam.serviceAccountUser"
        )


def _dataset(setup: Setup) -> Iterator[str]:
    where = f"--project_id={setup.project} --location={setup.region}"
    yield ""
    yield "# the dataset of predictions, the only one that runs write to (--sink bigquery)"
    yield f"bq {where} mk --force --dataset {setup.project}:{setup.dataset}"
    # GRANT of an existing grant changes nothing.
    grant = f'GRANT `{DATASET_ROLE}` ON SCHEMA `{setup.project}`.{setup.dataset} TO "{setup.member("run")}"'
    yield f"again bq {where} query --use_legacy_sql=false '{grant}'"


def _triggers(setup: Setup) -> Iterator[str]:
    topic = f"projects/{setup.project}/topics/headrace-data"
    yield ""
    yield "# the storage service agent, which the first request creates, reports new files below incoming/"
    yield (
        f"gcloud pubsub topics describe headrace-data --project={setup.project} >/dev/null 2>&1 || "
        f"gcloud pubsub topics create headrace-data --project={setup.project}"
    )
    yield f"agent=$(gcloud storage service-agent --project={setup.project})"
    yield (
        f"again gcloud pubsub topics add-iam-policy-binding headrace-data --project={setup.project} "
        '--member="serviceAccount:$agent" --role=roles/pubsub.publisher'
    )
    yield (
        f"gcloud storage buckets notifications list gs://{setup.bucket} | grep -q topics/headrace-data || "
        f"gcloud storage buckets notifications create gs://{setup.bucket} --topic={topic} "
        "--event-types=OBJECT_FINALIZE --object-prefix=incoming/"
    )
    connection, _, repository = setup.repository.partition("/")
    # One edit after another, so that names of this project are not edited again.
    changes = (
        ("europe-west1", setup.region),
        ("my-project", setup.project),
        (f"gs://{setup.project}-headrace", f"gs://{setup.bucket}"),
        ("my-connection", connection),
        ("my-repository", repository),
    )
    edit = "; ".join(f"s|{old}|{new}|g" for old, new in changes)
    yield ""
    yield "# the triggers: importing an existing one updates it"
    for file in sorted(TRIGGERS.glob("*.yaml")):
        yield (
            f"sed '{edit}' {file.relative_to(TRIGGERS.parent.parent)} | "
            f"gcloud builds triggers import --source=/dev/stdin --region={setup.region} --project={setup.project}"
        )


def main() -> int:
    """Reads the command line.

    Returns:
        0: done or printed; 2: a name is not valid; otherwise the status of the failed command.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--project", required=True, help="Project ID.")
    parser.add_argument("--region", required=True, help="Region of all resources, such as europe-west1.")
    parser.add_argument("--bucket", default="", help="Name of the bucket (default: PROJECT-headrace).")
    parser.add_argument("--with", dest="extras", action="append", default=[], choices=["dataflow", "bigquery", "scan"])
    parser.add_argument(
        "--repository", default="", help="CONNECTION/REPOSITORY of Cloud Build, for which triggers are imported."
    )
    parser.add_argument(
        "--dataset",
        default="headrace",
        help="Dataset of BigQuery that runs write predictions to, with --with bigquery (default: headrace).",
    )
    parser.add_argument("--print", dest="printing", action="store_true", help="Print the script, and run nothing.")
    arguments = parser.parse_args()
    bucket = arguments.bucket or f"{arguments.project}-headrace"
    try:
        setup = Setup(
            arguments.project,
            arguments.region,
            bucket,
            tuple(dict.fromkeys(arguments.extras)),
            arguments.repository,
            arguments.dataset,
        )
    except ValueError as error:
        parser.error(str(error))
    text = "\n".join(script(setup)) + "\n"
    if arguments.printing:
        sys.stdout.write(text)
        return 0
    bash = ["/usr/bin/env", "bash", "-c", text]
    return subprocess.run(bash, cwd=TRIGGERS.parent.parent, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
