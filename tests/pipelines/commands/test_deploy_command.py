"""`headrace deploy`: how its canary options are read, before anything is done."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.command import headrace

from headrace.components.deploy.canary.settings import CanarySettings
from headrace.core.errors import UsageError
from headrace.pipelines.commands.canary_options import settings


def test_the_settings_of_a_canary() -> None:
    assert settings("", None, None, ()) is None
    assert settings("10", None, None, ()) == CanarySettings(steps=(10,))
    others = ("at_deadline=stay", "latency_tolerance=2.5", "minimum_replayed=100")
    assert settings("5,25", 90.0, 50, others) == CanarySettings(
        steps=(5, 25),
        deadline_s=90.0,
        minimum_requests=50,
        at_deadline="stay",
        latency_tolerance=2.5,
        minimum_replayed=100,
    )


@pytest.mark.parametrize(
    ("canary", "others", "message"),
    [
        ("0", (), "a step of the canary"),
        ("50,10", (), "the steps of the canary are wrong"),
        ("ten", (), "the number is not valid"),
        ("10", ("latency",), "the setting of the canary is not valid"),
        ("10", ("steps=5",), "the setting of the canary is not valid"),
        ("10", ("speed=5",), "the setting of the canary does not exist"),
        ("", ("speed=5",), "--canary-setting requires --canary"),
    ],
)
def test_settings_that_are_refused(canary: str, others: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settings(canary, None, None, others)


@pytest.mark.parametrize(("given", "seconds"), [("90", 90.0), ("1.5m", 90.0), ("2h", 7200.0), ("1d", 86400.0)])
def test_durations(given: str, seconds: float) -> None:
    from headrace.pipelines.commands.deploy import deploy

    (watch,) = [each for each in deploy.params if each.name == "watch"]
    assert watch.type.convert(given, watch, None) == seconds


def test_refusals_end_with_2(tmp_path: Path) -> None:
    for options in (["--watch", "5 min", "--canary", "10"], ["--watch", "5m"], ["--canary", "101"], ["--port", "-1"]):
        ended = headrace("deploy", "--model", tmp_path, "--endpoint", tmp_path / "endpoint", *options)
        assert ended.returncode == 2, options
    assert not (tmp_path / "endpoint").exists()
    for command in ("status", "history", "start", "stop"):
        ended = headrace("endpoint", command, tmp_path / "nowhere")
        assert (ended.returncode, "the endpoint does not exist" in ended.stderr) == (2, True), command
    ended = headrace("rollback", tmp_path, "--predictions")
    assert "the endpoint is in no root" in " ".join(ended.stderr.split())
