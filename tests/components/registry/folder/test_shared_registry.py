"""The registry's promises, alike on a disk, gs:// and s3://: records, damage, marks, history, concurrent changes."""

from __future__ import annotations

import contextlib
import datetime
import itertools
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.registered_models import make_evaluation, make_model

from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
from headrace.core.artifacts.registered import verify
from headrace.core.errors import DataError, GateRefused, UsageError
from headrace.core.storage.remote import conditional_writes_of, store_of


@pytest.fixture(params=["disk", "gs", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The registry's folder, which does not exist yet."""
    if request.param == "disk":
        return str(tmp_path / "registry")
    bucket = request.getfixturevalue("bucket" if request.param == "gs" else "s3_bucket")
    return f"{request.param}://{bucket}/registry"


@pytest.fixture
def registry(place: str) -> Registry:
    """A registry whose clock stands still."""
    return Registry(place, who="ann@here", clock=lambda: datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC))


def test_a_version_has_a_record_and_whole_files(registry: Registry, tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "v2", problem="natality", data="e1", parent="v1", digest="f" * 64)
    registry.register(model, make_evaluation(tmp_path / "evaluation", "v2", metrics={"auc": 0.75}))
    record = registry.record("v2")
    files = record.pop("files")
    assert record == {
        "kind": "RegisteredModel",
        "format": 1,
        "version": "v2",
        "problem": "natality",
        "problem_digest": "f" * 64,
        "task": "regression",
        "data": "e1",
        "parent": "v1",
        "metrics": {"auc": 0.75},
        "approval": "blessed",
    }
    uri = registry.path("v2")
    assert sorted(files) == sorted(set(storage.files_below(uri)) - {"registered.json"})
    assert {name: storage.size(f"{uri}/{name}") for name in files} == {name: f["bytes"] for name, f in files.items()}
    listed = {"gs": "crc32c", "s3": "etag"}.get(uri.partition("://")[0])
    assert all(set(file) == {"bytes", "sha256", *([listed] if listed else [])} for file in files.values())
    assert verify(uri)
    registry.verify("v2")
    assert not verify(model)
    with storage.at_hand(uri) as copy:
        assert verify(str(copy))


@pytest.mark.parametrize("damage", ["flip", "truncate", "remove", "evaluation", "record"])
def test_a_damaged_version_is_refused(registry: Registry, tmp_path: Path, damage: str) -> None:
    registry.register(
        make_model(tmp_path / "model", "v1", content="weights" * 1000), make_evaluation(tmp_path / "evaluation", "v1")
    )
    uri = registry.path("v1")
    name = {"evaluation": "evaluation.json", "record": "registered.json"}.get(
        damage, "saved_model/variables/variables.data"
    )
    file, content = f"{uri}/{name}", bytearray(storage.read_bytes(f"{uri}/{name}"))
    if damage == "remove":
        storage.remove(file)
    else:
        content[len(content) // 2] ^= 1
        storage.write_bytes(file, bytes(content[:-1] if damage == "truncate" else content))
    with pytest.raises(DataError) as caught:
        registry.promote("v1")
    assert file in caught.value.text
    if damage != "record":
        assert "Restore the file from a backup, or train again" in caught.value.text
    assert registry.aliases() == {}


def test_every_change_has_an_epoch_and_says_who_when_and_why(registry: Registry, tmp_path: Path) -> None:
    for version in ("v1", "v2"):
        registry.register(make_model(tmp_path / version, version), why="trained")
    registry.promote("v1", why="first")
    registry.set_aliases({"challenger": "v2"})
    registry.promote("v2", why="better")
    registry.promote("v2", why="again")
    state = registry.state()
    assert (state.epoch, [c.epoch for c in state.history]) == (5, [1, 2, 3, 4, 5])
    assert [(c.action, c.version, c.why) for c in state.history] == [
        ("register", "v1", "trained"),
        ("register", "v2", "trained"),
        ("promote", "v1", "first"),
        ("alias", "v2", ""),
        ("promote", "v2", "better"),
    ]
    assert {(c.who, c.at) for c in state.history} == {("ann@here", "2026-01-02T03:04:05+00:00")}
    assert state.aliases == {"champion": "v2", "previous": "v1"}


def test_a_bad_version_is_not_brought_back(registry: Registry, tmp_path: Path) -> None:
    models = [make_model(tmp_path / version, version) for version in ("v1", "v2")]
    for model in models:
        registry.promote(registry.register(model))
    state = registry.mark_bad("v2", why="predicts nonsense")
    assert state.aliases == {"champion": "v1"}
    assert registry.mark_bad("v2") == state
    refused = "marked as bad.*ann@here, 2026-01-02T03:04:05.*predicts nonsense.*headrace registry restore"
    with pytest.raises(GateRefused, match=refused):
        registry.register(models[1])
    with pytest.raises(GateRefused, match=refused):
        registry.promote("v2")
    with pytest.raises(GateRefused, match=refused):
        registry.champion("v2")
    with pytest.raises(GateRefused, match=refused):
        registry.set_aliases({"challenger": "v2"})
    assert registry.state() == state
    assert registry.champion().version == "v1"
    registry.restore("v2", why="the data was wrong")
    assert registry.promote("v2") == {"champion": "v2", "previous": "v1"}


def test_an_archived_version_is_not_used(registry: Registry, tmp_path: Path) -> None:
    models = [make_model(tmp_path / version, version) for version in ("v1", "v2")]
    for model in models:
        registry.promote(registry.register(model))
    with pytest.raises(UsageError, match=r"the version is in use.*Received: previous"):
        registry.archive("v1")
    registry.set_aliases({"previous": None})
    state = registry.archive("v1", why="old")
    assert registry.archive("v1") == state
    assert registry.register(models[0]) == "v1"
    assert registry.state() == state
    for call in (registry.promote, registry.champion):
        with pytest.raises(UsageError, match="the version is archived"):
            call("v1")
    assert verify(registry.path("v1"))


def test_a_version_that_the_gate_refused_is_promoted_only_on_request(registry: Registry, tmp_path: Path) -> None:
    registry.register(
        make_model(tmp_path / "model", "v1"), make_evaluation(tmp_path / "evaluation", "v1", blessed=False)
    )
    assert registry.state().versions["v1"].approval == "refused"
    with pytest.raises(GateRefused, match="the gate refused this version"):
        registry.promote("v1")
    registry.promote("v1", approve=True, why="it is a demo")
    assert registry.state().versions["v1"].approval == "approved"


_RACE = """
import json, os, sys
from headrace.components.registry.folder.registry import Registry
from headrace.core import storage
place, models = sys.argv[1:]
if storage.is_remote(place):
    from headrace.core.storage.remote import conditional_writes_of
    conditional_writes_of(place)
children = []
for number in range(20):
    child = os.fork()
    if not child:
        registry = Registry(place)
        registry.register(f"{models}/{number}")
        registry.set_aliases({f"alias-{number}": f"v{number % 18}"})
        registry.promote(f"v{number % 18}")
        os._exit(0)
    children.append(child)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]))
"""


def test_20_registrations_at_a_time_lose_no_version_alias_or_change(place: str, tmp_path: Path) -> None:
    """Two pairs of them register the same version with other files: one of each pair wins, whole."""
    for number in range(20):
        make_model(tmp_path / "models" / str(number), f"v{number % 18}", content=f"weights of {number}" * 100)
    command = [sys.executable, "-c", _RACE, place, str(tmp_path / "models")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout) == [0] * 20
    registry = Registry(place)
    state = registry.state()
    assert registry.versions() == sorted(f"v{number}" for number in range(18))
    aliases = dict(state.aliases)
    promoted = [change.version for change in state.history if change.action == "promote"]
    assert aliases.pop("champion") == promoted[-1]
    assert aliases.pop("previous") == promoted[-2]
    assert aliases == {f"alias-{number}": f"v{number % 18}" for number in range(20)}
    assert [change.epoch for change in state.history] == list(range(1, state.epoch + 1))
    assert sum(change.action == "register" for change in state.history) == 18
    assert sum(change.action == "alias" for change in state.history) == 20
    for version in registry.versions():
        registry.verify(version)


class Killed(BaseException):
    pass


def _register(place: str, model: str, evaluation: str) -> Registry:
    registry = Registry(place)
    registry.promote(registry.register(model, evaluation))
    return registry


@pytest.mark.parametrize("after", [False, True])
def test_a_registration_killed_at_any_step_is_finished_by_the_next(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: bool
) -> None:
    """Each call that writes, one after the other, is the last of the first attempt, before or after its effect."""
    model = make_model(tmp_path / "model", "v1")
    evaluation = make_evaluation(tmp_path / "evaluation", "v1")
    calls = itertools.count()

    def killing(call: Any, last: int) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            number = next(calls)
            if number == last and not after:
                raise Killed
            result = call(*args, **kwargs)
            if number == last:
                raise Killed
            return result

        return wrapped

    for last in itertools.count():
        calls, where, finished = itertools.count(), f"{place}-{last}", False
        with monkeypatch.context() as patched, contextlib.suppress(Killed):
            if storage.is_remote(place):
                store, conditions = store_of(place), conditional_writes_of(place)
                patched.setattr(store, "upload", killing(store.upload, last))
                patched.setattr(store, "write_bytes", killing(store.write_bytes, last))
                patched.setattr(conditions, "write", killing(conditions.write, last))
            else:
                patched.setattr(os, "fsync", killing(os.fsync, last))
                patched.setattr(Path, "replace", killing(Path.replace, last))
            _register(where, model, evaluation)
            finished = True
        registry = _register(where, model, evaluation)
        registry.verify("v1")
        assert registry.versions() == ["v1"]
        assert registry.aliases() == {"champion": "v1"}
        assert [change.action for change in registry.state().history] == ["register", "promote"]
        if finished:
            break
    assert last == (10 if storage.is_remote(place) else 25)
