"""The endpoint's folder, and deployments that are refused before a server starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headrace.components.deploy.local import publisher
from headrace.components.deploy.local.endpoint import Change, EndpointFolder, EndpointState
from headrace.core.errors import DataError, PlatformError, UsageError
from headrace.core.storage.lock import locked


def state(live: str, previous: str | None, *went_live: str) -> EndpointState:
    history = tuple(Change(version, "deploy", "2026-01-01T00:00:00+00:00") for version in went_live)
    return EndpointState("natality", live, previous, "http://127.0.0.1:1", 1, history)


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
    assert list(said) == ["format", "name", "live", "previous", "url", "pid", "history", "rules"]
    assert said["history"][0] == {"version": "v1", "action": "deploy", "at": "2026-01-01T00:00:00+00:00"}


def test_a_state_from_before_rules_enforces_them(tmp_path: Path) -> None:
    folder = EndpointFolder(str(tmp_path))
    folder.write(state("v2", "v1"), None)
    path = tmp_path / "endpoint.json"
    said = json.loads(path.read_text())
    del said["rules"]
    path.write_text(json.dumps(said))
    read = folder.read()
    assert read is not None
    assert read.rules == "enforce"


def test_the_history_is_bounded() -> None:
    now = state("v1", None)
    for number in range(150):
        now = now.switched(f"v{number}", "deploy", previous=None, url="u", pid=1)
    assert len(now.history) == 100
    assert now.history[-1].version == "v149"


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
        publisher.deploy(publisher.DeployConfig(str(model), str(tmp_path / "endpoint")))
    assert not (tmp_path / "endpoint" / "endpoint.json").exists()
    assert not (tmp_path / "endpoint" / "versions").exists()


def test_half_a_model_is_refused_before_anything_is_made(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    (model / "schema.json").unlink()
    with pytest.raises(UsageError, match=r"holds no Model.*no schema\.json"):
        publisher.deploy(publisher.DeployConfig(str(model), str(tmp_path / "endpoint")))
    assert not (tmp_path / "endpoint").exists()


def test_one_deployment_at_a_time(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    model = make_model(tmp_path / "model", "v1")
    endpoint = str(tmp_path / "endpoint")
    with locked(endpoint), pytest.raises(PlatformError, match="another process holds the lock"):
        publisher.deploy(publisher.DeployConfig(str(model), endpoint, lock_timeout_s=0.1))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"name": "a/b"}, "the model name is not valid"),
        ({"name": "-x"}, "the model name is not valid"),
        ({"start_timeout_s": 0}, "start_timeout_s is not valid"),
        ({"keep_versions": -1}, "not below 0"),
        ({"lock_timeout_s": -1}, "not below 0"),
    ],
)
def test_the_configuration_checks_itself(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        publisher.DeployConfig("model", "endpoint", **wrong)


def test_an_endpoint_that_is_not_there(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "nowhere")
    for call in (publisher.rollback, publisher.stop, publisher.status):
        with pytest.raises(UsageError, match="the endpoint does not exist"):
            call(nowhere)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_where_nothing_was_ever_live(tmp_path: Path) -> None:
    said = publisher.status(str(tmp_path))
    assert (said.live, said.healthy, said.versions) == (None, False, ())
    publisher.stop(str(tmp_path))
    with pytest.raises(UsageError, match="the endpoint does not exist"):
        publisher.rollback(str(tmp_path))
