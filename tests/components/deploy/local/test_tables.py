"""Tables as versions of an endpoint, without a model: deployed, switched, rolled back and started again."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.command import headrace
from support.tables import table_by_hand

from headrace.components.deploy.local import operate
from headrace.components.deploy.local.endpoint import EndpointFolder
from headrace.components.deploy.local.local_endpoint import LocalEndpoint
from headrace.components.deploy.local.publisher import static_table
from headrace.components.rollback.rollback import rollback
from headrace.components.serve.modes.pin import pin
from headrace.components.serve.tables.pinned import golden_rows, is_pinned, read_pinned
from headrace.core.errors import DataError, UsageError

OLD, NEW = "a" * 16, "b" * 16


@pytest.fixture
def endpoint(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "endpoint"
    yield str(folder)
    if folder.exists():
        operate.stop(str(folder))


def ask(url: str, key: str) -> tuple[int, Any, Any]:
    """Status, value and headers of a request for one key."""
    body = json.dumps({"instances": [{"key": key}]}).encode()
    request = urllib.request.Request(f"{url}/predict", body, {"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=600) as response:
            return response.status, json.loads(response.read())["predictions"][0], response.headers
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read()), error.headers


def test_tables_are_versions_of_an_endpoint(endpoint: str, tmp_path: Path) -> None:
    place = table_by_hand(tmp_path / "tables", ["x", "y", "z"], OLD, weight=1.0)
    command = ["deploy", "--endpoint", endpoint, "--prediction-table", place]
    first = headrace(*command, "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert (told["version"], told["previous"], told["checked_rows"]) == (OLD, None, 3)
    url = told["url"]
    status, old, headers = ask(url, "x")
    assert (status, headers["x-table-version"], headers["x-model-version"]) == (200, OLD, "v1")
    assert ask(url, "nobody")[0] == 404
    # A table that is published later is served once it is deployed.
    table_by_hand(tmp_path / "tables", ["x", "y"], NEW, weight=5.0, version="v2")
    assert ask(url, "x")[1] == old
    second = headrace(*command, "--json")
    assert (second.returncode, json.loads(second.stdout)["previous"]) == (0, OLD), second.stderr
    status, new, headers = ask(url, "x")
    assert (status, headers["x-table-version"], headers["x-model-version"]) == (200, NEW, "v2")
    assert new != old
    # It is in no place twice: the same command changes nothing.
    state = EndpointFolder(endpoint).existing()
    assert headrace(*command).returncode == 0
    assert EndpointFolder(endpoint).existing() == state
    assert rollback(LocalEndpoint(endpoint), why="wrong prices").version == OLD
    assert ask(url, "x")[1] == old
    assert ask(url, "z")[0] == 200
    refused = headrace(*command)
    assert (refused.returncode, "marked as bad" in refused.stderr) == (3, True)
    operate.stop(endpoint)
    assert operate.start(endpoint) == url
    assert ask(url, "x")[1] == old


def test_what_is_refused(endpoint: str, tmp_path: Path) -> None:
    for options in ([], ["--prediction-table", "none"], ["--prediction-table", str(tmp_path), "--answer-cache", "5"]):
        ended = headrace("deploy", "--endpoint", endpoint, *options)
        assert (ended.returncode, "--model" in ended.stderr) == (2, True), options
    ended = headrace("deploy", "--endpoint", endpoint, "--prediction-table", str(tmp_path / "nowhere"))
    assert (ended.returncode, "the table to serve does not exist" in ended.stderr) == (2, True)
    assert not Path(endpoint).exists()


def declaring(model: Path, serving: dict[str, Any]) -> str:
    """A Model whose Problem declares how it is served."""
    problem = json.loads((model / "problem.json").read_text())
    (model / "problem.json").write_text(json.dumps({**problem, "serving": serving}))
    return str(model)


def test_a_model_that_declares_static_serving_is_deployed_as_its_table(
    endpoint: str, tmp_path: Path, make_model: Callable[..., Path]
) -> None:
    place = table_by_hand(tmp_path / "tables", ["x", "y"], OLD, version="v1")
    model = declaring(make_model(tmp_path / "model", "v1"), {"mode": "static", "table": place})
    done = headrace("deploy", "--model", model, "--endpoint", endpoint, "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["version"], told["checked_rows"]) == (OLD, 2)
    status, _, headers = ask(told["url"], "x")
    assert (status, headers["x-table-version"], headers["x-model-version"]) == (200, OLD, "v1")
    assert ask(told["url"], "nobody")[0] == 404


def test_which_table_stands_for_a_model(tmp_path: Path, make_model: Callable[..., Path]) -> None:
    place = table_by_hand(tmp_path / "tables", ["x"], OLD, version="v1")
    other = table_by_hand(tmp_path / "others", ["x"], NEW, version="v2")
    named = declaring(make_model(tmp_path / "named", "v1"), {"mode": "static", "table": place})
    unnamed = declaring(make_model(tmp_path / "unnamed", "v1"), {"mode": "static"})
    hybrid = declaring(make_model(tmp_path / "hybrid", "v1"), {"mode": "hybrid", "table": place})
    plain = str(make_model(tmp_path / "plain", "v1"))
    for model in (hybrid, plain):
        assert static_table(model, None) is static_table(model, place) is static_table(model, "") is None
    for model in (named, unnamed):
        assert (static_table(model, place), static_table(model, "")) == (place, None)
    assert static_table(named, None) == place
    with pytest.raises(UsageError, match="declares static serving, and no table is named"):
        static_table(unnamed, None)
    with pytest.raises(UsageError, match="this folder holds no Model"):
        static_table(str(tmp_path), None)
    with pytest.raises(UsageError, match="the table to serve does not exist"):
        static_table(unnamed, str(tmp_path / "nowhere"))
    with pytest.raises(UsageError, match="the table is of another model") as caught:
        static_table(named, other)
    assert (caught.value.expected, caught.value.received) == ("predictions of version v1", "predictions of version v2")


def test_a_pinned_table(tmp_path: Path) -> None:
    place = table_by_hand(tmp_path / "tables", [str(number) for number in range(100)], OLD)
    folder = tmp_path / "pinned"
    folder.mkdir()
    assert not is_pinned(str(folder))
    made = pin(place, folder)
    assert is_pinned(str(folder))
    assert read_pinned(str(folder)) == made
    golden = golden_rows(str(folder))
    assert len(golden["instances"]) == len(golden["predictions"]) == 8
    assert len({one["key"] for one in golden["instances"]}) == 8
    (folder / "table.json").write_text('{"table": "t"}')
    with pytest.raises(DataError, match="the file does not name a table"):
        read_pinned(str(folder))


def test_a_table_without_keys(tmp_path: Path) -> None:
    place = table_by_hand(tmp_path / "tables", [], OLD)
    with pytest.raises(UsageError, match="the table has no keys"):
        pin(place, tmp_path)
