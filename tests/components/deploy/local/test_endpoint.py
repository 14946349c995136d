"""The endpoint's folder, and deployments that are refused before a server starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local import operate, publisher
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.status import status
from headrace.components.deploy.state import EndpointState, TrafficChange
from headrace.components.rollback.rollback import rollback
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage.lock import locked


def state(live: str, previous: str | None, *went_live: str) -> EndpointState:
    history = tuple(TrafficChange(version, "deploy", "2026-01-01T00:00:00+00:00") for version in went_live)
    return EndpointState("natality", live, previous, history)


def test_the_state_is_written_and_read_back(tmp_path: Path) -> None:
    folder = EndpointFolder(str(tmp_path))
    assert folder.read() is None
    written = state("v2", "v1", "v1", "v2")
    folder.write(written, None)
    assert folder.read() == written
    for before in (None, state("v1", None, "v1")):
        with pytest.raises(PlatformError, match="another process changed the endpoint"):
            folder.write(state("v3", "v2"), before)
    assert folder.read() == written
    said = json.loads((tmp_path / "endpoint.json").read_text())
    assert (said["format"], said["name"], said["live"], said["traffic"], said["url"]) == (
        2,
        "natality",
        "v2",
        {"v2": 100},
        None,
    )
    assert said["history"][0]["at"] == "2026-01-01T00:00:00+00:00"


def test_a_state_of_format_1_is_read(tmp_path: Path) -> None:
    change = {"version": "v2", "action": "deploy", "at": "2026-01-01T00:00:00+00:00"}
    said = {"format": 1, "name": "natality", "live": "v2", "previous": "v1", "url": "http://127.0.0.1:1", "pid": 1}
    (tmp_path / "endpoint.json").write_text(json.dumps({**said, "history": [{**change, "version": "v1"}, change]}))
    folder = EndpointFolder(str(tmp_path))
    read = folder.existing()
    assert (read.rules, read.traffic, read.epoch, read.port, read.url, read.before()) == (
        "enforce",
        {"v2": 100},
        2,
        0,
        None,
        "v1",
    )
    assert status(str(tmp_path)).why_unhealthy == "it was deployed by an earlier release, which had no router"
    folder.write(read, read)
    assert folder.existing() == read


def test_a_state_of_a_later_format_is_refused(tmp_path: Path) -> None:
    (tmp_path / "endpoint.json").write_text('{"format": 3}')
    with pytest.raises(DataError, match=r"Expected format 1 or 2. Received: 3. Use the release of headrace that wrote"):
        EndpointFolder(str(tmp_path)).read()


@pytest.mark.parametrize("said", ["[]", "{}", '{"name": "x", "live": "../v1"}', "{"])
def test_a_damaged_state_is_said_to_be(tmp_path: Path, said: str) -> None:
    (tmp_path / "endpoint.json").write_text(said)
    with pytest.raises(DataError, match=r"endpoint\.json"):
        EndpointFolder(str(tmp_path)).read()


def test_old_versions_go_first_and_those_in_use_never(tmp_path: Path) -> None:
    folder = EndpointFolder(str(tmp_path))
    for name in ("v1", "v2", "v3", "v4", "v5", "v6", "failed", ".v7.abc"):
        (tmp_path / "versions" / name).mkdir(parents=True)
    folder.clean(state("v6", "v1", "v1", "v2", "v3", "v4", "v5", "v1", "v6"), keep=3)
    assert folder.versions() == ["v1", "v3", "v4", "v5", "v6"]
    folder.clean(state("v6", "v1", "v1", "v2", "v3", "v4", "v5", "v1", "v6"), keep=0)
    assert folder.versions() == ["v1", "v6"]
    assert sorted(p.name for p in (tmp_path / "versions").iterdir()) == ["v1", "v6"]


@pytest.mark.parametrize(
    ("golden", "received"),
    [("{}", None), ('{"instances": [], "predictions": []}', None), ('{"instances": [1], "predictions": []}', None)],
)
def test_a_model_without_golden_rows_is_refused(
    tmp_path: Path, make_model: Callable[..., Path], golden: str, received: Any
) -> None:
    model = make_model(tmp_path / "model", "v1")
    (model / "golden.json").write_text(golden)
    with pytest.raises(DataError, match="no golden rows to check the server with"):
        publisher.deploy(publisher.LocalDeployConfig(str(model), str(tmp_path / "endpoint")))
    assert not (tmp_path / "endpoint" / "endpoint.json").exists()
    assert not (tmp_path / "endpoint" / "versions").exists()


def test_half_a_model_is_refused_before_anything_is_made(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    (model / "schema.json").unlink()
    with pytest.raises(UsageError, match=r"holds no Model.*no schema\.json"):
        publisher.deploy(publisher.LocalDeployConfig(str(model), str(tmp_path / "endpoint")))
    assert not (tmp_path / "endpoint").exists()


def test_one_deployment_at_a_time(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    endpoint = str(tmp_path / "endpoint")
    with locked(endpoint), pytest.raises(PlatformError, match="another process holds the lock"):
        publisher.deploy(publisher.LocalDeployConfig(str(model), endpoint, lock_timeout_s=0.1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "a/b"}, "the model name is not valid"),
        ({"name": "-x"}, "the model name is not valid"),
        ({"start_timeout_s": 0}, "start_timeout_s is wrong"),
        ({"keep_versions": -1}, "keep_versions is wrong"),
        ({"lock_timeout_s": -1}, "lock_timeout_s is wrong"),
        ({"port": 65536}, "the port is not valid"),
    ],
)
def test_the_configuration_checks_itself(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        publisher.LocalDeployConfig("model", "endpoint", **wrong)


def test_an_endpoint_that_is_not_there(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    for call in (lambda name: rollback(LocalEndpoint(name)), operate.stop, operate.start, status):
        with pytest.raises(UsageError, match="the endpoint does not exist"):
            call(nowhere)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_where_nothing_was_ever_live(tmp_path: Path) -> None:
    said = status(str(tmp_path))
    assert (said.live, said.healthy, said.versions) == (None, False, ())
    operate.stop(str(tmp_path))
    with pytest.raises(UsageError, match="the endpoint does not exist"):
        rollback(LocalEndpoint(str(tmp_path)))
    (tmp_path / "versions" / "v1").mkdir(parents=True)
    assert status(str(tmp_path)).half_finished == "the first deployment was begun and did not finish. Run it again"
