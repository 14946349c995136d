"""How a model behind an endpoint is asked, and how a batch prediction job runs: plain values that check themselves."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from dataclasses import dataclass
from typing import Any, Literal, get_args
from urllib.parse import urlsplit

from headrace.core.checks import check_count
from headrace.core.errors import UsageError

# A job carries a digest of all that it depends on: a run that is given again finds it, and starts no second one.
JOB_LABEL = "headrace_job"

Form = Literal["instances", "inputs"]
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
    """How a model behind an endpoint is asked.

    Attributes:
        url: that predictions are posted to: https://HOST/v1/models/NAME:predict, or whatever speaks Vertex's form.
        form: "instances", an object a row, as Vertex and TensorFlow Serving take it; "inputs", an array a column, as
            TensorFlow Serving alone does.
        token_variable: the environment variable that holds a bearer token, or "". Endpoints of *.googleapis.com are
            asked with the credentials of Google Cloud where it is not given.
        concurrency: requests that are under way at once, of one process.
        requests_per_second: of one process, at most, tries that failed too; 0 for as many as there can be.
        rows_per_request: at most; a multiple of 48 lets predictions be those of any other size, to the last bit.
        bytes_per_request: of a body, at most; Vertex takes 1.5 MB.
        request_seconds: that one try may take, to 3600.
        tries: of a request.
        deadline_seconds: for all requests together, from when the first is prepared; 0 for none.

    Raises:
        UsageError: a value outside its range, or an address that is none or holds a secret.
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
                "there is no such form", expected=f"one of {', '.join(get_args(Form))}", received=repr(self.form)
            )
        if self.token_variable and not _VARIABLE.fullmatch(self.token_variable):
            # It is not shown: it may well be the token itself.
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
            if not 0 <= getattr(self, name) < math.inf:
                raise UsageError(f"{name} is wrong", expected="0 or more", received=repr(getattr(self, name)))

    @property
    def rows_at_once(self) -> int:
        """Rows of which the requests that may be under way at once are filled."""
        return min(self.rows_per_request * self.concurrency, 1 << 20)

    @property
    def google(self) -> bool:
        """It belongs to Google Cloud, whose credentials it takes."""
        host = urlsplit(self.url).hostname or ""
        return not self.token_variable and self.url.startswith("https://") and host.endswith(".googleapis.com")


@dataclass(frozen=True)
class JobOptions:
    """How a Vertex AI batch prediction job runs.

    Attributes:
        project: that pays.
        region: where it runs.
        staging: a folder in a bucket, gs://BUCKET/FOLDER, for instances and results.
        model: in Vertex's registry, projects/P/locations/L/models/M, with @VERSION if not the default one.
        machine_type: of the workers.
        replicas: workers, at most.
        batch_size: instances that a container is given at once; those that it refuses come again, one by one.
        service_account: that the workers run as, or "".
        poll_seconds: between two looks at the job.
        deadline_seconds: to wait for it; 0 for as long as it takes.
        api_endpoint: a server of one's own in place of Vertex's, http://HOST:PORT, without credentials; or "".

    Raises:
        UsageError: a value outside its range.
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
        if not self.poll_seconds > 0:
            raise UsageError("poll_seconds is wrong", expected="more than 0", received=repr(self.poll_seconds))
        if not self.deadline_seconds >= 0:
            raise UsageError("deadline_seconds is wrong", expected="0 or more", received=repr(self.deadline_seconds))


def options_from(kind: type[Any], text: str, where: str) -> Any:
    """The options of an endpoint or a job from JSON, as a pipeline's parameters hold them; None of "".

    Raises:
        UsageError: it is no JSON object, or has a field that is none of them, or a wrong value.
    """
    if not text:
        return None
    names = [field.name for field in dataclasses.fields(kind)]
    try:
        plain = json.loads(text)
        unknown = sorted(set(plain) - set(names)) if isinstance(plain, dict) else ["it is no object"]
    except ValueError as error:
        raise UsageError("that is not JSON", where=where, expected='{"NAME": VALUE, ...}') from error
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
        raise UsageError("that is no address", where="--endpoint-url", expected="https://HOST/...") from error
    if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
        raise UsageError(
            "the address holds more than an address",
            where="--endpoint-url",
            expected="neither a user and password, nor a query: addresses are logged",
            fix="Give a token by --endpoint-token-variable",
        )
    if parts.scheme not in ("http", "https") or not host or not url.isprintable() or " " in url:
        raise UsageError("that is no address", where="--endpoint-url", expected="https://HOST/...", received=repr(url))
    if secret and parts.scheme == "http" and host not in _LOCAL:
        raise UsageError(
            "a token would be sent for everybody to read", where="--endpoint-url", expected="https://", received=url
        )
