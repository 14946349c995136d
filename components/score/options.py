"""Options of an endpoint and of a batch prediction job, as validated values."""

from __future__ import annotations

import dataclasses
import json
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from headrace.core.checks import check_count, check_not_negative, check_positive
from headrace.core.errors import UsageError

# A job is labeled with a digest of everything that it depends on: a repeated run finds it, and does not start another.
JOB_LABEL = "headrace_job"

Form = Literal["instances", "inputs"]
_GOOGLE = (".googleapis.com", ".prediction.vertexai.goog")
_LOCAL = ("localhost", "127.0.0.1", "::1")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_PROJECT = re.compile(r"([a-z0-9.-]+:)?[a-z][-a-z0-9]{4,28}[a-z0-9]")
_REGION = re.compile(r"[a-z]+(-[a-z]+)+[0-9]+")
_MODEL = re.compile(r"projects/[^/]+/locations/[^/]+/models/[^/@]+(@[a-zA-Z0-9-]+)?")
_MACHINE = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)+")
_ACCOUNT = re.compile(r"([a-z0-9][-a-z0-9.]*@[a-z0-9][-a-z0-9.]*)?")
_SERVER = re.compile(r"(https?://[a-zA-Z0-9.-]+(:[0-9]{1,5})?)?")


@dataclass(frozen=True)
class EndpointOptions:
    """Options of requests to an endpoint.

    Attributes:
        url: URL of predictions: https://HOST/v1/models/NAME:predict, or any server with Vertex AI's format.
        form: "instances", one object per row, for Vertex AI and TensorFlow Serving; "inputs", one array per column,
            only for TensorFlow Serving.
        token_variable: the environment variable with a bearer token, or "". For *.googleapis.com and
            *.prediction.vertexai.goog, the default is the credentials of Google Cloud.
        concurrency: maximum concurrent requests per process.
        requests_per_second: maximum requests per second and process, including failed attempts; 0 for no limit.
        rows_per_request: maximum rows per request; with a multiple of 48, predictions are those of any other size, to
            the last bit.
        bytes_per_request: maximum bytes of a request's body; Vertex AI accepts 1.5 MB, and 10 MB at a dedicated
            endpoint.
        request_seconds: timeout per attempt, in seconds, to 3600.
        tries: maximum attempts per request.
        deadline_seconds: maximum time for all requests, from the first one's preparation, in seconds; 0 for no limit.
            Workers on other machines, and those that replace failed ones there, count from their own first request.

    Raises:
        UsageError: a value is outside its range, or the URL is not valid or contains a secret.
    """

    url: str
    form: Form = "instances"
    token_variable: str = ""
    concurrency: int = 4
    requests_per_second: float = 0.0
    rows_per_request: int = 960
    bytes_per_request: int = 1_400_000
    request_seconds: float = 30.0
    tries: int = 6
    deadline_seconds: float = 0.0

    def __post_init__(self) -> None:
        _check_address(self.url, secret=bool(self.token_variable))
        if self.form not in get_args(Form):
            raise UsageError(
                "the form does not exist", expected=f"one of {', '.join(get_args(Form))}", received=repr(self.form)
            )
        if self.token_variable and not _VARIABLE.fullmatch(self.token_variable):
            # It is not shown: it may be the token itself.
            raise UsageError(
                "that is not the name of an environment variable",
                where="--endpoint-token-variable",
                expected="letters, digits and _; the token itself is never given as an option",
            )
        for name, greatest in (("concurrency", 256), ("rows_per_request", 100_000), ("tries", 100)):
            check_count(getattr(self, name), name, maximum=greatest)
        check_count(self.bytes_per_request, "bytes_per_request", maximum=1 << 30)
        if not 0 < self.request_seconds <= 3600:
            raise UsageError(
                "request_seconds is wrong", expected="more than 0, to 3600", received=repr(self.request_seconds)
            )
        for name in ("requests_per_second", "deadline_seconds"):
            check_not_negative(getattr(self, name), name)

    @property
    def rows_at_once(self) -> int:
        """Number of rows that fill all concurrent requests."""
        return min(self.rows_per_request * self.concurrency, 1 << 20)

    @property
    def google(self) -> bool:
        """Whether the endpoint is on Google Cloud, and accepts its credentials."""
        host = urlsplit(self.url).hostname or ""
        return not self.token_variable and self.url.startswith("https://") and host.endswith(_GOOGLE)


@dataclass(frozen=True)
class JobOptions:
    """Options of a Vertex AI batch prediction job.

    Attributes:
        project: the billed project.
        region: the job's region.
        staging: a folder in a bucket, gs://BUCKET/FOLDER, for instances and results.
        model: in Vertex's registry, projects/P/locations/L/models/M, with @VERSION if not the default one.
        machine_type: machine type of the workers.
        replicas: maximum number of workers.
        batch_size: instances per request to a container; refused ones are sent again, one by one.
        service_account: service account of the workers, or "".
        poll_seconds: interval between status requests, in seconds.
        deadline_seconds: maximum time to wait for the job, in seconds; 0 for no limit.
        api_endpoint: another server instead of Vertex AI, http://HOST:PORT, without credentials; or "".

    Raises:
        UsageError: a value is outside its range.
    """

    project: str
    region: str
    staging: str
    model: str
    machine_type: str = "n2-standard-4"
    replicas: int = 10
    batch_size: int = 64
    service_account: str = ""
    poll_seconds: float = 30.0
    deadline_seconds: float = 0.0
    api_endpoint: str = ""

    def __post_init__(self) -> None:
        for name, pattern, expected in (
            ("project", _PROJECT, "a project's ID, such as my-project"),
            ("region", _REGION, "a region, such as us-central1"),
            ("model", _MODEL, "projects/PROJECT/locations/REGION/models/MODEL, perhaps with @VERSION"),
            ("machine_type", _MACHINE, "a machine type, such as n2-standard-4"),
            ("service_account", _ACCOUNT, "an account's address, NAME@PROJECT.iam.gserviceaccount.com, or none"),
            ("api_endpoint", _SERVER, "http://HOST:PORT, or none"),
        ):
            if not pattern.fullmatch(getattr(self, name)):
                raise UsageError(f"{name} is wrong", expected=expected, received=repr(getattr(self, name)))
        if f"/locations/{self.region}/" not in self.model:
            raise UsageError("model is in another region", expected=f"one in {self.region}", received=self.model)
        if not re.fullmatch(r"gs://[a-z0-9][-_a-z0-9.]+[a-z0-9]/[^\r\n\"*?\[\]]+", self.staging):
            raise UsageError("staging is wrong", expected="gs://BUCKET/FOLDER", received=repr(self.staging))
        check_count(self.replicas, "replicas", maximum=1000)
        check_count(self.batch_size, "batch_size", maximum=100_000)
        check_positive(self.poll_seconds, "poll_seconds")
        check_not_negative(self.deadline_seconds, "deadline_seconds")


def options_from(kind: type[Any], text: str, where: str) -> Any:
    """Parses the options of an endpoint or a job from the JSON of a pipeline's parameter; None for "".

    Raises:
        UsageError: it is not a JSON object, or has an unknown field or an invalid value.
    """
    if not text:
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    try:
        plain = json.loads(text)
        unknown = sorted(set(plain) - set(names)) if isinstance(plain, dict) else ["it is not an object"]
    except ValueError as error:
        raise UsageError("the text is not JSON", where=where, expected='{"NAME": VALUE, ...}') from error
    if unknown:
        raise UsageError("an option is unknown", where=where, expected=f"{', '.join(names)}", received=unknown[0])
    try:
        return kind(**plain)
    except TypeError as error:
        raise UsageError("an option is missing or of another type", where=where, received=str(error)) from error


def _check_address(url: str, *, secret: bool) -> None:
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise UsageError("the URL is not valid", where="--endpoint-url", expected="https://HOST/...") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "the URL must not contain credentials, a query or a fragment",
            where="--endpoint-url",
            expected="neither a user and password, nor a query: addresses are logged",
            fix="Give a token by --endpoint-token-variable",
        )
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UsageError(
            "the URL is not valid", where="--endpoint-url", expected="https://HOST/...", received=repr(url)
        )
    if secret and parts.scheme == "http" and host not in _LOCAL:
        raise UsageError(
            "a token would be sent for everybody to read", where="--endpoint-url", expected="https://", received=url
        )
