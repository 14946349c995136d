"""Static mode: the answer of the model itself, by key and without it; unknown keys; tables that replace each other."""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.mode_requests import ROWS, instances, post, text_of
from support.serving import answer, load
from support.tables import table_by_hand, table_of_model

from headrace.components.serve.app import ServerApp
from headrace.components.serve.config import ServeConfig, config_from_environment
from headrace.components.serve.modes.answerer import KeysNotFound, RowsRequest
from headrace.components.serve.modes.static import Static
from headrace.components.serve.start import ServingTarget, find
from headrace.components.serve.start import load as start_load
from headrace.components.serve.tables.follow import TableFollower
from headrace.components.serve.tables.place import open_table
from headrace.core.artifacts.published import current
from headrace.core.errors import DataError, UsageError


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory, make_model: Callable[..., Path]) -> Path:
    return make_model(tmp_path_factory.mktemp("static") / "model", "v1")


@pytest.fixture(scope="module")
def table(model: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return table_of_model(str(model), ROWS, tmp_path_factory.mktemp("table"))


@pytest.fixture
def app(table: str) -> ServerApp:
    config = ServeConfig("", mode="static", table=table)
    app = ServerApp("natality", "v1")
    start_load(find(config), app, lambda *_, **__: None)
    return app


def test_answers_are_those_of_the_model_to_the_last_byte(app: ServerApp, model: Path) -> None:
    loaded = load(model)
    keys = [{"key": row["record_id"]} for row in ROWS]
    for rows in (ROWS, ROWS[:1], ROWS[::-3]):
        asked = [{"record_id": row["record_id"]} for row in rows]
        dynamic = answer(loaded, text_of({"instances": instances(rows)}))
        response = post(app, "/predict", {"instances": asked})
        assert (response.status_code, response.content) == (200, dynamic)
        # Other fields of an instance are not read.
        assert post(app, "/v1/models/natality:predict", {"instances": instances(rows)}).content == dynamic
    columns: dict[str, list[Any]] = {name: [row[name] for row in instances(ROWS)] for name in instances(ROWS)[0]}
    by_column = post(app, "/v1/models/natality:predict", {"inputs": {"key": [key["key"] for key in keys]}})
    assert by_column.content == answer(loaded, text_of({"inputs": columns}))


def test_open_inference_answers_with_the_models_tensors(app: ServerApp, model: Path) -> None:
    keys = [row["record_id"] for row in ROWS[:3]]
    tensor = {"name": "key", "shape": [3], "datatype": "BYTES", "data": keys}
    response = post(app, "/v2/models/natality/infer", {"inputs": [tensor], "id": "7"}).json()
    predictions = json.loads(answer(load(model), text_of({"instances": instances(ROWS[:3])})))["predictions"]
    by_name = {output["name"]: output for output in response["outputs"]}
    assert by_name["prediction"]["data"] == [row["prediction"] for row in predictions]
    assert (by_name["prediction"]["datatype"], by_name["prediction"]["shape"]) == ("FP32", [3])
    assert by_name["key"]["data"] == keys
    assert (response["id"], response["model_version"]) == ("7", "v1")


def test_the_table_stands_in_each_answer_in_health_and_in_metrics(app: ServerApp, table: str) -> None:
    response = post(app, "/predict", {"instances": [{"key": "k1"}, {"key": "k2"}]})
    version = current(table)["current"]
    assert response.headers["x-table-version"] == version
    assert response.headers["x-model-version"] == "v1"
    assert 0 <= int(response.headers["x-table-age"]) < 3600
    post(app, "/predict", {"instances": [{"key": "k1"}, {"key": "gone"}]})
    metrics = post(app, "/metrics", None, method="GET").text.splitlines()
    assert 'headrace_rows_by_source_total{source="table"} 3' in metrics
    assert 'headrace_rows_by_source_total{source="unknown"} 1' in metrics
    assert 'headrace_model_info{version="v1",mode="static"} 1' in metrics
    assert f"headrace_table_keys {len(ROWS)}" in metrics
    assert any(line.startswith("headrace_table_age_seconds ") for line in metrics)
    facts = post(app, "/health", None, method="GET").json()["table"]
    assert (facts["version"], facts["model_version"], facts["keys"]) == (version, "v1", len(ROWS))


def test_the_description_is_made_once_for_a_table_and_tells_its_age_at_any_time(table: str) -> None:
    now = datetime.datetime.now(datetime.UTC)
    older = replace(open_table(table), published=now - datetime.timedelta(days=1))
    static = Static(older, "natality")
    found = static.description
    assert static.description is found
    assert found.facts()["table"]["age_s"] >= 86_400
    static.use(replace(older, version="newer", published=now))
    assert static.description is not found
    assert static.description.facts()["table"]["version"] == "newer"
    assert static.description.facts()["table"]["age_s"] < 86_400


@pytest.mark.parametrize(
    ("path", "body", "where"),
    [
        ("/predict", {"instances": [{"key": "k1"}, {"key": "gone"}, {"key": ""}]}, "instances[1].key"),
        ("/v1/models/natality:predict", {"inputs": {"record_id": ["k1", "gone", ""]}}, "inputs.key[1]"),
        (
            "/v2/models/natality/infer",
            {"inputs": [{"name": "key", "shape": [3], "datatype": "BYTES", "data": ["k1", "gone", ""]}]},
            "inputs.key[1]",
        ),
    ],
)
def test_an_unknown_key_is_not_found(app: ServerApp, path: str, body: Any, where: str) -> None:
    response = post(app, path, body)
    assert response.status_code == 404
    assert response.json() == {
        "error": f'{where}: the key has no prediction. Expected a key of the table. Received: "gone".',
        "not_there": [1, 2],
    }


@pytest.mark.parametrize(
    ("instance", "message"),
    [
        ({"mother_age": 30}, "instances[0].key: the key is missing. Expected key, or record_id."),
        ({"key": None}, "instances[0].key: the key is missing."),
        ({"key": ["k1"]}, "instances[0].key: the key is an array."),
        ({"key": "k1", "record_id": "k2"}, "instances[0].record_id: the row has two keys."),
    ],
)
def test_a_request_without_a_usable_key_is_refused(app: ServerApp, instance: Any, message: str) -> None:
    response = post(app, "/predict", {"instances": [instance]})
    assert response.status_code == 400
    assert response.json()["error"].startswith(message)


def test_a_bare_value_is_the_key(app: ServerApp) -> None:
    """As of any model with one input."""
    bare, named = (post(app, "/predict", {"instances": [one]}) for one in ("k1", {"key": "k1"}))
    assert (bare.status_code, bare.json()) == (200, named.json())


def test_requests_of_one_batch_do_not_touch_each_other(table: str) -> None:
    static = Static(open_table(table), "natality")
    good, unknown, bad = ([{"key": key}] for key in ("k3", "gone", ["x"]))
    outcomes = static.answer([RowsRequest(1, each) for each in (good, unknown, bad, good)])
    (alone,) = static.answer([RowsRequest(1, good)])
    assert not isinstance(alone, Exception)
    for outcome in (outcomes[0], outcomes[3]):
        assert not isinstance(outcome, Exception)
        assert {n: v.tolist() for n, v in outcome.outputs.items()} == {n: v.tolist() for n, v in alone.outputs.items()}
    assert isinstance(outcomes[1], KeysNotFound)
    assert isinstance(outcomes[2], DataError)


def test_keys_are_texts_of_numbers(tmp_path: Path) -> None:
    static = Static(open_table(table_by_hand(tmp_path, ["1", "-2", "0.5", "true"], "a" * 16)), "m")
    rows = [{"key": 1}, {"key": 1.0}, {"id": -2}, {"key": 0.5}, {"key": True}]
    (found,) = static.answer([RowsRequest(len(rows), rows)])
    assert not isinstance(found, Exception)
    # The key is not returned: the model does not.
    assert list(found.outputs) == ["class", "prediction", "probabilities"]


def test_a_new_table_is_followed_and_a_damaged_one_refused_once(tmp_path: Path) -> None:
    keys = ["a", "b"]
    place = table_by_hand(tmp_path, keys, "a" * 16, 1.0)
    static = Static(open_table(place), "m")
    counted: list[str] = []
    follower = TableFollower(place, 60.0, static, count=counted.append)
    assert not follower.look()
    table_by_hand(tmp_path, keys, "b" * 16, 2.0)
    assert follower.look()
    assert static.table.version == "b" * 16
    table_by_hand(tmp_path, keys, "c" * 16, 3.0)
    (file,) = (tmp_path / "published" / "versions" / ("c" * 16) / "table").iterdir()
    content = bytearray(file.read_bytes())
    content[100] ^= 1
    file.write_bytes(content)
    assert [follower.look(), follower.look()] == [False, False]
    assert static.table.version == "b" * 16
    table_by_hand(tmp_path, keys, "d" * 16, 4.0)
    assert follower.look()
    assert counted == ["switched", "refused", "switched"]


def test_readers_see_whole_tables_while_they_are_switched(tmp_path: Path) -> None:
    """Each batch is of one table, and a table is unmapped when its last reader has ended."""
    keys = [f"k{i}" for i in range(50)]
    place = ""
    for number in range(12):
        place = table_by_hand(tmp_path, keys, f"{number:016x}", float(number))
    tables = [f"{number:016x}" for number in range(12)]
    static = Static(open_table(place, tables[0]), "m")
    wrong: list[Any] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            (found,) = static.answer([RowsRequest(50, [{"key": key} for key in keys])])
            if isinstance(found, Exception) or len(set(found.outputs["prediction"].tolist())) != 1:
                wrong.append(found)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for _ in range(5):
        for version in tables:
            static.use(open_table(place, version))
    done.set()
    for reader in readers:
        reader.join()
    assert not wrong
    maps = Path("/proc/self/maps").read_text().splitlines()
    mapped = {line.split("/versions/")[1][:16] for line in maps if f"{place}/versions/" in line}
    assert mapped == {tables[-1]}


def test_what_cannot_be_served(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="the table to serve does not exist") as caught:
        find(ServeConfig("", mode="static", table=str(tmp_path)))
    assert "headrace predictions table" in (caught.value.fix or "")
    place = table_by_hand(tmp_path, ["a"], "a" * 16)
    config = ServeConfig("", mode="static", table=place)
    assert find(config) == ServingTarget("model", "v1", config)
    named = replace(config, name="other")
    assert find(named) == ServingTarget("other", "v1", named)
    for options in ({"mode": "static"}, {"table": "t"}, {"mode": "hybrid"}, {"mode": "fast"}, {"cache_rows": 5}):
        with pytest.raises(UsageError):
            ServeConfig("", **options)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="static serving uses no model"):
        ServeConfig("model", mode="static", table=place).check_source()


def test_a_table_is_served_without_tensorflow_and_pyarrow(table: str) -> None:
    """Their images lack one of them, and a server of a table starts at once without them."""
    script = (
        "import sys\n"
        "for name in ('tensorflow', 'pyarrow', 'google_crc32c', 'kfp', 'apache_beam'): sys.modules[name] = None\n"
        "from headrace.components.serve.app import ServerApp\n"
        "from headrace.components.serve.config import ServeConfig\n"
        "from headrace.components.serve.modes.answerer import RowsRequest\n"
        "from headrace.components.serve.start import find, load\n"
        "config = ServeConfig('', mode='static', table=sys.argv[1])\n"
        "found = find(config)\n"
        "app = ServerApp(found.name, found.version)\n"
        "load(found, app, lambda *_, **__: None)\n"
        "(answer,) = app.answerer.answer([RowsRequest(1, [{'key': 'k1'}])])\n"
        "print(answer.outputs['key'].tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", script, table], capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("[b'k1']\n", "")


def test_the_environment_of_a_container() -> None:
    image = {"AIP_STORAGE_URI": "/mnt/models", "AIP_HTTP_PORT": "8080"}
    config = config_from_environment({**image, "HEADRACE_MODE": "static", "HEADRACE_TABLE": "gs://b/table"})
    config.check_source()
    assert (config.source, config.mode, config.table) == ("", "static", "gs://b/table")
    hybrid = {**image, "HEADRACE_MODE": "hybrid", "HEADRACE_TABLE": "t", "HEADRACE_CACHE": "50"}
    config = config_from_environment(hybrid)
    config.check_source()
    assert (config.source, config.cache_rows) == ("/mnt/models", 50)
    with pytest.raises(UsageError, match="HEADRACE_CACHE is not valid"):
        config_from_environment({**image, "HEADRACE_CACHE": "many"})
