"""Place of submission: a platform, and the location on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from headrace.core.errors import UsageError

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import Service

# Each option of the commands: its name, field, metavar and help.
OPTIONS = (
    ("--project", "project", "PROJECT", "Vertex AI: ID of the project (default: [vertex] of --options)."),
    ("--region", "location", "REGION", "Vertex AI: region, such as europe-west1 (default: [vertex] of --options)."),
    (
        "--api-endpoint",
        "api_endpoint",
        "URL",
        "Vertex AI: URL of another address of the service, such as a private one.",
    ),
    ("--kubeflow-url", "kubeflow_url", "URL", "Kubeflow: URL of the API (default: the cluster of kubectl)."),
    ("--namespace", "namespace", "NAME", "Kubeflow: namespace of the runs, on a cluster of several users."),
    ("--token-file", "token_file", "FILE", "Kubeflow: file with the bearer token of the API."),
)
_OF = {"project": "vertex", "location": "vertex", "api_endpoint": "vertex"}


@dataclass(frozen=True)
class PlatformLocation:
    """A platform and the location on it; "" where an option is not set.

    Attributes:
        platform: "vertex" or "kubeflow".
        options_file: a TOML file of the platform's options.
        project, location, api_endpoint: of Vertex AI.
        kubeflow_url, namespace, token_file: of Kubeflow.
    """

    platform: str
    options_file: str = ""
    project: str = ""
    location: str = ""
    api_endpoint: str = ""
    kubeflow_url: str = ""
    namespace: str = ""
    token_file: str = ""

    @property
    def arguments(self) -> str:
        """The place as options of a command line, for a suggested next command."""
        known = {"--platform": self.platform, "--options": self.options_file}
        known |= {option: getattr(self, name) for option, name, _, _ in OPTIONS}
        return " ".join(f"{option} {value}" for option, value in known.items() if value)


@dataclass(frozen=True)
class Settings:
    """Settings of a platform's options file for every run."""

    project: str = ""
    location: str = ""
    service_account: str = ""
    network: str = ""
    encryption_key: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def settings(place: PlatformLocation) -> Settings:
    """Settings of a place from the options and their file; the options take precedence.

    Raises:
        UsageError: an option is of the other platform, or missing.
    """
    foreign = [
        option for option, name, _, _ in OPTIONS if getattr(place, name) and _OF.get(name, "kubeflow") != place.platform
    ]
    if foreign:
        raise UsageError(
            f"{place.platform} does not accept {foreign[0]}", where=foreign[0], expected=f"--platform {_other(place)}"
        )
    if place.platform != "vertex":
        return Settings()
    table: Any = None
    if place.options_file:
        from headrace.pipelines.platforms.options import build, read_options
        from headrace.pipelines.platforms.vertex_options import VertexOptions

        table = build(VertexOptions, read_options(place.options_file).get("vertex", {}), "vertex")
    found = Settings(
        project=place.project or getattr(table, "project", ""),
        location=place.location or getattr(table, "location", ""),
        service_account=getattr(table, "service_account", ""),
        network=getattr(table, "network", ""),
        encryption_key=getattr(table, "encryption_key", ""),
        labels=tuple(sorted(table.labels.items())) if table is not None else (),
    )
    for option, name in (("--project", "project"), ("--region", "location")):
        if not getattr(found, name):
            raise UsageError(f"{option} is missing", where="--platform vertex", fix=f"Set {option}, or --options FILE")
    return found


@contextmanager
def service(place: PlatformLocation) -> Iterator[Service]:
    """Connects to the platform's pipeline engine.

    Raises:
        UsageError: the location is missing, or there are no credentials.
    """
    said = settings(place)
    opened: Any
    if place.platform == "vertex":
        from headrace.pipelines.submission.vertex.client import VertexService

        opened = VertexService(
            said.project,
            said.location,
            api_endpoint=place.api_endpoint,
            network=said.network,
            encryption_key=said.encryption_key,
            service_account=said.service_account,
        )
    else:
        from headrace.pipelines.submission.kubeflow.client import KubeflowService

        opened = KubeflowService(place.kubeflow_url, namespace=place.namespace, token=_token(place.token_file))
    try:
        yield opened
    finally:
        opened.close()


def _token(path: str) -> str:
    if not path:
        return ""
    from headrace.core import storage

    try:
        return storage.read_bytes(path).decode().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError("the token cannot be read", where=path, received=str(error)) from error


def _other(place: PlatformLocation) -> str:
    return "kubeflow" if place.platform == "vertex" else "vertex"
