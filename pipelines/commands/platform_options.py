"""The options that say on which platform, and where on it: the same for all commands that ask one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from headrace.core.errors import UsageError
from headrace.pipelines.commands.option_groups import folded, group

if TYPE_CHECKING:
    from headrace.pipelines.submission.run import Service

# Each option, the field that it sets, what it is shown as, and what it is for.
_OPTIONS = (
    ("--project", "project", "PROJECT", "vertex: ID of the project (default: [vertex] of --options)."),
    ("--region", "location", "REGION", "vertex: region, such as europe-west1 (default: [vertex] of --options)."),
    ("--api-endpoint", "api_endpoint", "URL", "vertex: URL of another address of the service, such as a private one."),
    ("--host", "host", "URL", "kubeflow: URL of the API (default: the cluster of kubectl)."),
    ("--namespace", "namespace", "NAME", "kubeflow: namespace of the runs, on a cluster of several users."),
    ("--token-file", "token_file", "FILE", "kubeflow: file with the bearer token of the API."),
)
_OF = {"project": "vertex", "location": "vertex", "api_endpoint": "vertex"}
# Names that commands had before each meaning had one name.
_ALIASES = {"--region": ("--location",)}
PLATFORM_ALIASES = ("--for", "--to")


@dataclass(frozen=True)
class Place:
    """A platform, and where on it; "" where an option was not given.

    Attributes:
        platform: "vertex" or "kubeflow".
        options_file: a TOML file of the platform's options.
        project, location, api_endpoint: of Vertex AI.
        host, namespace, token_file: of Kubeflow.
    """

    platform: str
    options_file: str = ""
    project: str = ""
    location: str = ""
    api_endpoint: str = ""
    host: str = ""
    namespace: str = ""
    token_file: str = ""

    @property
    def arguments(self) -> str:
        """As options, for a command that a user may give next."""
        known = {"--platform": self.platform, "--options": self.options_file}
        known |= {option: getattr(self, name) for option, name, _, _ in _OPTIONS}
        return " ".join(f"{option} {value}" for option, value in known.items() if value)


@dataclass(frozen=True)
class Settings:
    """What a platform's options file says about every run of it."""

    project: str = ""
    location: str = ""
    service_account: str = ""
    network: str = ""
    encryption_key: str = ""
    labels: tuple[tuple[str, str], ...] = ()


def place(command: Callable[..., Any], *, required: bool = True) -> Callable[..., Any]:
    """Adds the options to a command, which is given a Place under `place`.

    Args:
        command: what the options are added to.
        required: whether there must be a platform; without one the Place's is "".
    """
    where = group("Platform")
    return folded(
        (
            where(
                "--platform",
                "platform",
                type=click.Choice(["vertex", "kubeflow"]),
                required=required,
                aliases=PLATFORM_ALIASES,
                help="Platform of the run." if required else "Platform of the run (default: this machine).",
            ),
            where("--options", "options_file", metavar="FILE", default="", help="TOML file of `headrace compile`."),
            *(
                where(name, field, default="", metavar=metavar, aliases=_ALIASES.get(name, ()), help=text)
                for name, field, metavar, text in _OPTIONS
            ),
        ),
        "place",
        lambda given: Place(**{name: value or "" for name, value in given.items()}),
    )(command)


def settings(place: Place) -> Settings:
    """What is said about the place by the options and by their file; the options win.

    Raises:
        UsageError: an option of the other platform, or one that is missing.
    """
    foreign = [
        option
        for option, name, _, _ in _OPTIONS
        if getattr(place, name) and _OF.get(name, "kubeflow") != place.platform
    ]
    if foreign:
        raise UsageError(
            f"{place.platform} takes no {foreign[0]}", where=foreign[0], expected=f"--platform {_other(place)}"
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
            raise UsageError(f"{option} is missing", where="--platform vertex", fix=f"Give {option}, or --options FILE")
    return found


@contextmanager
def service(place: Place) -> Iterator[Service]:
    """The platform's pipeline engine.

    Raises:
        UsageError: the options do not say where it is, or there are no credentials.
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

        opened = KubeflowService(place.host, namespace=place.namespace, token=_token(place.token_file))
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


def _other(place: Place) -> str:
    return "kubeflow" if place.platform == "vertex" else "vertex"
