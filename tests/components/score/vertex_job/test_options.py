"""What a batch prediction job's options refuse before any work."""

from __future__ import annotations

from typing import Any

import pytest

from headrace.components.score.options import JobOptions
from headrace.core.errors import UsageError

GOOD = {
    "project": "demo-project",
    "region": "us-central1",
    "staging": "gs://bucket/staging",
    "model": "projects/demo-project/locations/us-central1/models/1@champion",
}


def test_good_options_are_taken() -> None:
    assert JobOptions(**GOOD).batch_size == 64
    JobOptions(**GOOD, service_account="12-compute@developer.gserviceaccount.com", api_endpoint="http://127.0.0.1:80")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"project": "x"}, "project is wrong"),
        ({"region": "here"}, "region is wrong"),
        ({"staging": "gs://bucket"}, "staging is wrong"),
        ({"staging": 'gs://bucket/a"b'}, "staging is wrong"),
        ({"model": "natality"}, "model is wrong"),
        ({"region": "europe-west4"}, "model is in another region"),
        ({"machine_type": "big"}, "machine_type is wrong"),
        ({"service_account": 'me", "x": "'}, "service_account is wrong"),
        ({"api_endpoint": "127.0.0.1"}, "api_endpoint is wrong"),
        ({"replicas": 0}, "replicas is wrong"),
        ({"batch_size": True}, "batch_size is wrong"),
        ({"poll_seconds": 0}, "poll_seconds is wrong"),
        ({"deadline_seconds": -1}, "deadline_seconds is wrong"),
    ],
)
def test_wrong_options_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        JobOptions(**{**GOOD, **wrong})
