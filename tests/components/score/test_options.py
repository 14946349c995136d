"""What the options of an endpoint refuse."""

from __future__ import annotations

import math
from typing import Any

import pytest

from headrace.components.score.options import EndpointOptions
from headrace.core.errors import UsageError

URL = "https://example.org/v1/models/m:predict"


def test_defaults_fill_whole_blocks_and_fit_what_vertex_takes() -> None:
    options = EndpointOptions(URL)
    assert options.rows_per_request % 48 == 0
    assert options.bytes_per_request <= 1_500_000
    assert options.rows_at_once == 4 * 960
    assert EndpointOptions(URL, rows_per_request=100_000, concurrency=256).rows_at_once == 1 << 20


@pytest.mark.parametrize(
    "options",
    [
        {"form": "rows"},
        {"concurrency": 0},
        {"concurrency": 257},
        {"concurrency": True},
        {"concurrency": 2.0},
        {"rows_per_request": 0},
        {"bytes_per_request": 0},
        {"tries": 0},
        {"request_seconds": 0.0},
        {"request_seconds": math.nan},
        {"request_seconds": math.inf},
        {"requests_per_second": -1.0},
        {"requests_per_second": math.nan},
        {"requests_per_second": math.inf},
        {"deadline_seconds": -1.0},
        {"deadline_seconds": math.inf},
    ],
)
def test_a_value_outside_its_range_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        EndpointOptions(URL, **options)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.org",
        "ftp://example.org/",
        "https://",
        "https://example.org:port/",
        "https://[::1/",
        "https://example.org/a b",
        "https://example.org/\n",
    ],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match="the URL is not valid"):
        EndpointOptions(url)


@pytest.mark.parametrize(
    "url", ["https://user:hunter2@example.org/", "https://example.org/?key=hunter2", "https://example.org/#hunter2"]
)
def test_an_address_holds_no_secret_and_the_message_does_not_show_it(url: str) -> None:
    with pytest.raises(UsageError, match="must not contain credentials, a query or a fragment") as caught:
        EndpointOptions(url)
    assert "hunter2" not in caught.value.text


def test_a_token_in_place_of_its_variable_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="not the name of an environment variable") as caught:
        EndpointOptions(URL, token_variable="ya29.hunter2")
    assert "hunter2" not in caught.value.text


def test_a_token_goes_over_https_or_stays_on_this_machine() -> None:
    EndpointOptions("http://127.0.0.1:8080/predict", token_variable="TOKEN")
    EndpointOptions("http://[::1]:8080/predict", token_variable="TOKEN")
    with pytest.raises(UsageError, match="for everybody to read"):
        EndpointOptions("http://example.org/predict", token_variable="TOKEN")


@pytest.mark.parametrize(
    ("url", "variable", "google"),
    [
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/1:predict", "", True),
        ("https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/l/endpoints/1:predict", "TOKEN", False),
        ("http://us-central1-aiplatform.googleapis.com/v1/endpoints/1:predict", "", False),
        ("https://googleapis.com.example.org/v1/endpoints/1:predict", "", False),
        ("https://1.us-central1-42.prediction.vertexai.goog/v1/projects/p/locations/l/endpoints/1:predict", "", True),
        ("https://prediction.vertexai.goog.example.org/v1/endpoints/1:predict", "", False),
        ("https://evilgoogleapis.com/v1/endpoints/1:predict", "", False),
        (URL, "", False),
    ],
)
def test_google_cloud_is_known_by_its_host(url: str, variable: str, google: bool) -> None:
    assert EndpointOptions(url, token_variable=variable).google is google
