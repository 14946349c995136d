"""Predictions held against their manifest, and put where readers look."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from support.by_hand import VERSION, ByHand

from headrace.components.score.batch.run import score
from headrace.components.score.checking import check
from headrace.components.score.config import ScoreConfig
from headrace.components.score.publishing import last_not_of, publish, rollback
from headrace.core import storage
from headrace.core.artifacts.published import current
from headrace.core.errors import DataError, UsageError

IDENTITY = "0123456789abcdef"


def made(folder: Path, name: str = "out", identity: str = IDENTITY, **options: Any) -> Path:
    """Predictions for 100 rows, of which one lacks its weight."""
    weight = pa.array([float(i) for i in range(100)], mask=[i == 7 for i in range(100)])
    table = pa.table({"id": [f"id-{i:02d}" for i in range(100)], "weight": weight, "color": ["red"] * 100})
    pq.write_table(table, folder / "rows.parquet")
    score(ScoreConfig("m", str(folder / "rows.parquet"), str(folder / name), identity, **options), source=ByHand())
    return folder / name


@pytest.mark.parametrize("sink", ["parquet", "csv", "jsonl", "table"])
def test_what_is_right(tmp_path: Path, sink: Any) -> None:
    checked = check(str(made(tmp_path, sink=sink)))
    assert (checked.manifest.rows_in, checked.manifest.rows_out, checked.divergence) == (100, 99, None)
    (file,) = checked.manifest.files
    assert checked.bytes == file.bytes == (tmp_path / "out" / file.file).stat().st_size


def test_a_file_that_changed(tmp_path: Path) -> None:
    out = made(tmp_path, sink="csv")
    (file,) = (out / "predictions").iterdir()
    content = bytearray(file.read_bytes())
    content[50] ^= 1
    file.write_bytes(content)
    with pytest.raises(DataError, match="the file is not the one that the manifest lists") as caught:
        check(str(out))
    assert caught.value.where == str(file)
    file.unlink()
    with pytest.raises(DataError, match="a file of the predictions is missing"):
        check(str(out))


def test_a_row_that_left_the_quarantine(tmp_path: Path) -> None:
    out = made(tmp_path)
    (kept,) = (out / "quarantine").iterdir()
    kept.write_bytes(b"")
    with pytest.raises(DataError, match="the quarantine does not hold the rows") as caught:
        check(str(out))
    assert (caught.value.expected, caught.value.received) == ("1", "0")
    kept.unlink()
    with pytest.raises(DataError, match="a file of the quarantine is missing"):
        check(str(out))


def test_drift_from_training(tmp_path: Path) -> None:
    out = made(tmp_path)
    with pytest.raises(UsageError, match="nothing is known of the data"):
        check(str(out), 0.5)
    manifest = json.loads((out / "manifest.json").read_text())
    manifest["distribution"]["training"] = {"output": "prediction", "jensen_shannon": 0.25}
    (out / "manifest.json").write_text(json.dumps(manifest))
    assert check(str(out), 0.25).divergence == 0.25
    with pytest.raises(DataError, match="the predictions have drifted") as caught:
        check(str(out), 0.2)
    assert caught.value.received == "0.25"
    with pytest.raises(UsageError, match="max_divergence is wrong"):
        check(str(out), 2.0)


def test_publishing_keeps_the_one_before(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    assert current(place) == {}
    first = publish(str(made(tmp_path)), place)
    assert (first.identity, first.previous) == (IDENTITY, None)
    second = publish(str(made(tmp_path, "other", "f" * 16, sink="table")), place)
    assert (second.uri, second.previous) == (f"{place}/versions/{'f' * 16}", IDENTITY)
    before = (tmp_path / "place" / "current.json").stat().st_mtime_ns
    assert publish(str(tmp_path / "other"), place) == second
    assert (tmp_path / "place" / "current.json").stat().st_mtime_ns == before
    assert current(place) == {
        "format": 1,
        "current": "f" * 16,
        "previous": IDENTITY,
        "model_version": VERSION,
        "sink": "table",
        "rows": 99,
        "destination": None,
        "earlier": [[IDENTITY, VERSION]],
    }
    for uri in (first.uri, second.uri):
        assert check(uri).manifest.rows_out == 99
    assert publish(str(tmp_path / "out"), place).previous == "f" * 16


@pytest.mark.parametrize("where", ["disk", "gs"])
def test_publications_at_a_time_each_follow_another(tmp_path: Path, request: pytest.FixtureRequest, where: str) -> None:
    place = str(tmp_path / "place") if where == "disk" else f"gs://{request.getfixturevalue('bucket')}/place"
    identities = [f"{number:016x}" for number in range(7)]
    folders = [str(made(tmp_path, identity, identity)) for identity in identities]
    publish(folders[0], place)
    with ThreadPoolExecutor(6) as pool:
        published = list(pool.map(lambda folder: publish(folder, place), folders[1:]))
    assert sorted([*(each.previous or "" for each in published), current(place)["current"]]) == identities


def test_the_last_publication_of_another_version(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    identities = [f"{number:016x}" for number in range(4)]
    for identity, version in zip(identities, ("a", "b", "c", "c"), strict=True):
        folder = made(tmp_path, identity, identity)
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "model_version": version}))
        publish(str(folder), place)
    assert last_not_of(place, "c") == identities[1]
    assert last_not_of(place, "x") == identities[2]
    rollback(place, identities[1])
    assert current(place)["earlier"] == [[identities[0], "a"]]
    assert last_not_of(place, "b") == identities[0]
    # One that a release published which did not note earlier ones.
    written = current(place)
    del written["earlier"]
    storage.write_json(f"{place}/current.json", {**written, "previous": identities[0]})
    assert (last_not_of(place, "b"), last_not_of(place, "a")) == (identities[0], None)


def test_going_back(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    with pytest.raises(UsageError, match="nothing is published there"):
        rollback(place)
    assert not (tmp_path / "place").exists()
    first = publish(str(made(tmp_path)), place)
    with pytest.raises(UsageError, match="no earlier predictions exist to return to") as caught:
        rollback(place)
    assert caught.value.received == f"{IDENTITY} is the first"
    publish(str(made(tmp_path, "other", "f" * 16, sink="csv")), place)
    for _ in range(2):
        # Pressed again, it does not bring back what was fled from; nor does publishing the same again.
        assert rollback(place).uri == first.uri
        now = current(place)
        assert (now["current"], now["previous"], now["sink"]) == (IDENTITY, None, "parquet")
        assert now["rolled_back_from"] == "f" * 16
        publish(str(tmp_path / "out"), place)
    for wrong in ("a" * 16, "../out"):
        with pytest.raises(UsageError, match="the predictions do not exist"):
            rollback(place, wrong)
    assert rollback(place, "f" * 16).identity == current(place)["current"] == "f" * 16
    assert publish(str(tmp_path / "out"), place).previous == "f" * 16
    assert "rolled_back_from" not in current(place)


def test_going_back_to_what_is_not_whole(tmp_path: Path) -> None:
    place = str(tmp_path / "place")
    first = publish(str(made(tmp_path)), place)
    now = publish(str(made(tmp_path, "other", "f" * 16)), place)
    manifest = Path(first.uri) / "manifest.json"
    plain = json.loads(manifest.read_text())
    manifest.write_text(json.dumps({**plain, "destination": "bigquery://p.d.t"}))
    with pytest.raises(UsageError, match="the predictions are in a table, which later ones have replaced"):
        rollback(place)
    manifest.write_text(json.dumps(plain))
    (file,) = (Path(first.uri) / "predictions").iterdir()
    file.write_bytes(b"")
    with pytest.raises(DataError, match="the file is not the one that the manifest lists"):
        rollback(place)
    assert current(place)["current"] == now.identity


def test_publishing_in_a_bucket(tmp_path: Path, bucket: str) -> None:
    place = f"gs://{bucket}/place"
    published = publish(str(made(tmp_path)), place)
    assert check(published.uri).manifest.rows_out == 99
    # From one bucket to another place, as on Vertex.
    again = publish(published.uri, f"gs://{bucket}/second")
    assert check(again.uri).bytes == check(published.uri).bytes
    assert current(f"gs://{bucket}/second")["current"] == IDENTITY


def test_what_is_published_but_damaged(tmp_path: Path) -> None:
    storage.write_json(str(tmp_path / "place" / "current.json"), {"format": 2})
    with pytest.raises(DataError, match="does not name the current predictions"):
        publish(str(made(tmp_path)), str(tmp_path / "place"))
    with pytest.raises(UsageError, match="this folder holds no Predictions"):
        publish(str(tmp_path / "nothing"), str(tmp_path / "place"))
