"""Limits of a server: as texts of a container, and as options of the command."""

from __future__ import annotations

from dataclasses import fields

import click
import pytest
from click.testing import CliRunner

from headrace.components.serve.config import config_from_environment
from headrace.components.serve.limits import Limits, limits_from
from headrace.core.errors import UsageError
from headrace.pipelines.commands import limit_options


def test_texts() -> None:
    assert limits_from([], "there") == Limits()
    found = limits_from(["max_waiting=0", "time_limit_s=2.5"], "there")
    assert found == Limits(max_waiting=0, time_limit_s=2.5)
    environment = {"HEADRACE_LIMITS": "max_instances=5 max_body_bytes=1000", "AIP_STORAGE_URI": "m"}
    assert config_from_environment(environment).limits == Limits(max_instances=5, max_body_bytes=1000)


@pytest.mark.parametrize("text", ["max_waiting", "max_waiting=a", "max_waiting=1.5", "max_speed=1", "=", ""])
def test_texts_that_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="HEADRACE_LIMITS: the limit of the server is not valid"):
        limits_from([text], "HEADRACE_LIMITS")
    with pytest.raises(UsageError, match="max_running is wrong"):
        limits_from(["max_running=0"], "there")


def test_options_of_the_command() -> None:
    seen: list[Limits] = []

    @click.command()
    @limit_options.options
    def serve(limits: Limits) -> None:
        seen.append(limits)

    for options in (
        [],
        ["--max-body", "0.5", "--max-waiting-size", "1", "--max-waiting", "0", "--max-instances", "7"],
        ["--time-limit", "1.5", "--arrival-time", "2", "--keep-alive", "4", "--max-connections", "9"],
        ["--max-batch-rows", "8", "--max-running", "2"],
    ):
        assert CliRunner().invoke(serve, options, catch_exceptions=False).exit_code == 0
    assert seen == [
        Limits(),
        Limits(max_body_bytes=1 << 19, max_waiting_bytes=1 << 20, max_waiting=0, max_instances=7),
        Limits(time_limit_s=1.5, arrival_time_s=2.0, keep_alive_s=4.0, max_connections=9),
        Limits(max_batch_rows=8, max_running=2),
    ]
    assert CliRunner().invoke(serve, ["--max-running", "0"]).exit_code == 2
    # Two bounds are for attacks alone: no user has a reason to change them.
    named = {"max_body_bytes", "max_waiting_bytes", *(p.name for p in serve.params)}
    assert {field.name for field in fields(Limits)} - named == {"max_head_bytes", "max_pieces"}
