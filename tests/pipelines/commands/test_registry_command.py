"""`headrace registry`: the versions of a registry, and what an operator does with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.registered_models import make_evaluation, make_model

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.errors import DataError, GateRefused, HeadraceError, UsageError
from headrace.core.model_events.event import ModelEvent
from headrace.pipelines.cli import cli


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(cli, ["registry", *arguments])


def said(*arguments: str) -> str:
    result = invoke(*arguments)
    assert result.exception is None, result.exception
    return str(result.output)


def refused(*arguments: str) -> HeadraceError:
    error = invoke(*arguments).exception
    assert isinstance(error, HeadraceError)
    return error


@pytest.fixture(params=["disk", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A registry with the champion v1 and two more versions, of which the gate refused v3."""
    folder = str(tmp_path / "registry")
    if request.param != "disk":
        bucket = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
        folder = f"{request.param}://{bucket}/registry"
    registry = Registry(folder, who="ann@here")
    for version in ("v1", "v2", "v3"):
        model = make_model(tmp_path / version, version, problem="natality", data="e1", parent="v0")
        evaluation = make_evaluation(
            tmp_path / f"of-{version}", version, blessed=version != "v3", metrics={"auc": 0.75}
        )
        registry.register(model, evaluation, why="trained")
    registry.promote("v1")
    return folder


def test_list_and_show(place: str) -> None:
    lines = said("list", place).splitlines()
    assert lines[0].split() == ["VERSION", "ALIASES", "STATUS", "APPROVAL", "REGISTERED", "BY"]
    assert [line.split()[:3] for line in lines[1:]] == [
        ["v3", "registered", "refused"],
        ["v2", "registered", "blessed"],
        ["v1", "champion", "registered"],
    ]
    listed = json.loads(said("list", place, "--json"))
    assert (listed["epoch"], listed["aliases"]) == (4, {"champion": "v1"})
    assert [row["version"] for row in listed["versions"]] == ["v3", "v2", "v1"]
    shown = said("show", place, "--verify").splitlines()
    uri = Registry(place).path("v1")
    for line in ("version   v1", "problem   natality, regression", "parent    v0", f"model     {uri}"):
        assert line in shown
    assert "metrics   auc 0.75" in shown
    assert any(line.startswith("files     7 files, ") and line.endswith(", all whole") for line in shown)
    assert shown[-2].endswith("register by ann@here: trained")
    found = json.loads(said("show", place, "v2", "--json"))
    assert (found["version"], found["data"], found["history"][0]["who"]) == ("v2", "e1", "ann@here")


def test_promote_archive_and_restore(place: str) -> None:
    assert said("promote", place, "v2", "--alias", "challenger") == (
        "version v2 is the challenger; aliases: challenger v2, champion v1\n"
    )
    assert said("promote", place, "v2", "--why", "better") == (
        "version v2 is the champion; aliases: champion v2, previous v1\n"
    )
    told = json.loads(said("promote", place, "champion", "--json"))
    assert (told["epoch"], told["aliases"]) == (6, {"champion": "v2", "previous": "v1"})
    error = refused("archive", place, "champion")
    assert isinstance(error, UsageError)
    assert "the version is in use" in error.text
    assert said("archive", place, "v2", "--bad", "--why", "nonsense") == (
        "version v2 is marked as bad; aliases: champion v1\n"
    )
    error = refused("promote", place, "v2")
    assert isinstance(error, GateRefused)
    assert error.exit_status == 3
    assert "nonsense" in error.text
    assert said("restore", place, "v2").startswith("version v2 is registered; ")
    assert said("archive", place, "v2").startswith("version v2 is archived; ")


def test_a_promotion_is_announced(place: str, tmp_path: Path) -> None:
    folder = str(tmp_path / "events")
    told = said("promote", place, "v2", "--announce", folder)
    assert told.splitlines()[1:] == [f"announced epoch 5, v2, to {folder}"]
    (file,) = (tmp_path / "events").glob("*.json")
    event = ModelEvent.decode(file.read_bytes(), str(file))
    assert (event.app, event.epoch, event.version, event.action) == ("natality", 5, "v2", "promote")
    # Sent again where it is in doubt: the same file.
    assert said("promote", place, "v2", "--announce", folder) == told
    error = refused("promote", place, "v1", "--announce", folder, "--announce", "ftp://x")
    assert (error.exit_status, "the destination of model events is not valid" in error.text) == (2, True)
    assert (
        "only a champion is announced"
        in refused("promote", place, "v1", "--alias", "challenger", "--announce", folder).text
    )
    assert Registry(place).aliases()["champion"] == "v2"


def test_a_version_that_the_gate_refused(place: str) -> None:
    assert isinstance(refused("promote", place, "v3"), GateRefused)
    assert said("promote", place, "v3", "--approve").startswith("version v3 is the champion; ")


def test_a_damaged_version(place: str) -> None:
    file = f"{Registry(place).path('v2')}/problem.json"
    storage.write_bytes(file, b"[]")
    for arguments in (["promote", place, "v2"], ["show", place, "v2", "--verify"]):
        error = refused(*arguments)
        assert isinstance(error, DataError)
        assert file in error.text
    assert json.loads(said("list", place, "--json"))["aliases"] == {"champion": "v1"}


def test_what_is_not_there(place: str, tmp_path: Path) -> None:
    assert "the registry does not exist" in refused("list", str(tmp_path)).text
    assert "the registry does not exist" in refused("list", str(tmp_path / "nowhere")).text
    for command in ("show", "promote", "archive", "restore"):
        assert "Expected one of v1, v2, v3. Received: 'v9'" in refused(command, place, "v9").text
