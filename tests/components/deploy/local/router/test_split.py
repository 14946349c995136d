"""The split of the traffic: by key it is stable and grows, at random it is as the percentages say."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.components.deploy.local.router.split import choose, key_of

DRAW = random.Random(1)


@pytest.mark.parametrize("percent", [1, 10, 50, 99])
def test_percentages_by_key_and_at_random(percent: int) -> None:
    traffic = {"live": 100 - percent, "new": percent}
    for key in (True, False):
        chosen = [choose(traffic, "live", str(n) if key else None, DRAW) for n in range(20_000)]
        assert abs(chosen.count("new") / 200 - percent) < 1.2


@given(st.text(), st.integers(1, 98))
def test_a_key_stays_with_the_canary_while_it_grows(key: str, percent: int) -> None:
    def of(percent: int) -> str:
        return choose({"live": 100 - percent, "new": percent}, "live", key, DRAW)

    assert of(percent) == of(percent)
    assert of(percent) == "live" or of(percent + 1) == "new"


def test_another_canary_gets_other_keys() -> None:
    keys = [str(n) for n in range(10_000)]
    first, second = ({k for k in keys if choose({"live": 90, v: 10}, "live", k, DRAW) == v} for v in ("a", "b"))
    assert 50 < len(first & second) < 150


def test_all_traffic_needs_no_choice() -> None:
    assert choose({"v2": 100}, "v2", None, DRAW) == "v2"


@pytest.mark.parametrize(
    ("body", "key"),
    [
        ({"instances": [{"key": "a", "x": 1}, {"key": "b"}]}, "a"),
        ({"signature_name": "s", "instances": [{"x": {"key": "no"}, "key": 7}]}, "7"),
        ({"instances": [{"x": 1}]}, None),
        ({"instances": [[1, 2]]}, None),
        ({"instances": []}, None),
        ({"instances": [{"key": None}]}, None),
        ({"instances": [{"key": [1]}]}, None),
        ({"inputs": {"x": [1]}}, None),
    ],
)
def test_the_key_of_a_body(body: object, key: str | None) -> None:
    assert key_of(None, json.dumps(body).encode()) == key


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"instances": [{"key": "a', b"\xff" * 100, b'"instances"' + b"[{" * 40_000]
)
def test_a_body_that_is_no_request_has_no_key(body: bytes) -> None:
    assert key_of(None, body) is None


def test_the_header_comes_first() -> None:
    assert key_of(b"caf\xe9", b'{"instances": [{"key": "a"}]}') == "caf\xe9"
