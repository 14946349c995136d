"""The folder registry."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.fuzzing import max_examples
from support.ledgers import REFUSED, ended
from support.registered_models import make_evaluation, make_model

from headrace.components.registry.folder import step
from headrace.components.registry.folder.registry import Registry
from headrace.core.errors import DataError, UsageError
from headrace.core.ledger.claim import Claim
from headrace.core.ledger.state import Overtaken
from headrace.core.steps import identity
from headrace.core.steps.step import read_record


def tree(folder: str) -> dict[str, bytes]:
    root = Path(folder)
    return {str(f.relative_to(root)): f.read_bytes() for f in root.rglob("*") if f.is_file()}


def test_a_model_is_copied_whole_with_its_evaluation(tmp_path: Path) -> None:
    model = make_model(tmp_path / "model", "v1")
    registry = Registry(str(tmp_path / "registry"))
    assert registry.versions() == []
    assert registry.aliases() == {}
    assert registry.register(model, make_evaluation(tmp_path / "evaluation", "v1")) == "v1"
    assert registry.versions() == ["v1"]
    kept = tree(registry.path("v1"))
    assert json.loads(kept["evaluation.json"])["blessed"] is True
    record = json.loads(kept.pop("registered.json"))
    assert {name: file["sha256"] for name, file in record["files"].items()} == {
        name: hashlib.sha256(content).hexdigest() for name, content in kept.items()
    }
    del kept["evaluation.json"]
    assert kept == tree(model)


def test_registering_a_version_again_changes_nothing(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.register(make_model(tmp_path / "first", "v1", "first"))
    before = tree(str(tmp_path / "registry"))
    assert registry.register(make_model(tmp_path / "second", "v1", "second")) == "v1"
    assert tree(str(tmp_path / "registry")) == before


def test_what_a_killed_registration_left_is_no_version_and_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "registry" / "versions" / ".v1.abc"
    left.mkdir(parents=True)
    (tmp_path / "registry" / ".lock").touch()
    registry = Registry(str(tmp_path / "registry"))
    assert registry.versions() == []
    registry.register(make_model(tmp_path / "model", "v1"))
    assert registry.versions() == ["v1"]
    assert not left.exists()


@pytest.mark.parametrize("missing", ["saved_model/saved_model.pb", "schema.json", "golden.json", "training.json"])
def test_half_a_model_is_refused_and_leaves_nothing(tmp_path: Path, missing: str) -> None:
    model = make_model(tmp_path / "model", "v1")
    (tmp_path / "model" / missing).unlink()
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(UsageError, match=f"Received: no {missing}"):
        registry.register(model)
    assert registry.versions() == []
    assert not (tmp_path / "registry").exists()


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="this folder holds no Model"):
        Registry(str(tmp_path / "registry")).register(str(tmp_path / "nowhere"))


def test_the_evaluation_of_another_model_is_refused(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(DataError, match=r"another model.*Expected model_version v1\. Received: v2"):
        registry.register(make_model(tmp_path / "model", "v1"), make_evaluation(tmp_path / "evaluation", "v2"))
    assert registry.versions() == []


@pytest.mark.parametrize("name", ["", ".", "..", "../v1", "a/b", ".hidden", "-rf", "a\nb", "v1\n", "a" * 65, 7, None])
def test_a_version_that_is_no_name_never_reaches_a_path(tmp_path: Path, name: Any) -> None:
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(DataError, match="the model version is not valid"):
        registry.register(make_model(tmp_path / "model", name))
    for call in (registry.path, registry.promote):
        with pytest.raises(UsageError, match="the model version is not valid"):
            call(name)
    if name is not None:
        with pytest.raises(UsageError, match="the model version is not valid"):
            registry.set_aliases({"champion": name})
    assert not (tmp_path / "registry").exists()


@pytest.mark.parametrize("alias", ["", "Champion", "../x", "1st", "a b", "a\n", "a" * 65, 7])
def test_an_alias_that_is_no_name_is_refused(tmp_path: Path, alias: Any) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.register(make_model(tmp_path / "model", "v1"))
    with pytest.raises(UsageError, match="the alias is not valid"):
        registry.set_aliases({alias: "v1"})
    assert registry.aliases() == {}


def test_a_version_that_is_not_registered_is_named_with_those_that_are(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    with pytest.raises(UsageError, match="nothing is registered yet"):
        registry.path("v1")
    registry.register(make_model(tmp_path / "model", "v1"))
    with pytest.raises(UsageError, match=r"Expected one of v1\. Received: 'v2'"):
        registry.promote("v2")
    with pytest.raises(UsageError, match="the version does not exist in the registry"):
        registry.set_aliases({"challenger": "v1", "champion": "v2"})
    assert registry.aliases() == {}


def test_promotion(tmp_path: Path) -> None:
    registry = Registry(str(tmp_path / "registry"))
    for version in ("v1", "v2", "v3"):
        registry.register(make_model(tmp_path / version, version))
    assert registry.promote("v1") == {"champion": "v1"}
    assert registry.set_aliases({"challenger": "v2"}) == {"champion": "v1", "challenger": "v2"}
    assert registry.promote("v2") == {"champion": "v2", "previous": "v1"}
    path = tmp_path / "registry" / "registry.json"
    written = path.stat().st_ino, path.stat().st_mtime_ns
    assert registry.promote("v2") == {"champion": "v2", "previous": "v1"}
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == written
    assert registry.promote("v3") == registry.aliases() == {"champion": "v3", "previous": "v2"}
    assert registry.set_aliases({"previous": None, "nobody": None}) == {"champion": "v3"}


_UNKNOWN = '{"format": 1, "epoch": 1, "aliases": {"champion": "v9"}, "versions": {}, "history": []}'


@pytest.mark.parametrize("content", ["[]", "{", "null", '{"format": 1}', '{"format": 2}', _UNKNOWN])
def test_a_damaged_state_is_refused(tmp_path: Path, content: str) -> None:
    registry = Registry(str(tmp_path / "registry"))
    registry.register(make_model(tmp_path / "model", "v1"))
    (tmp_path / "registry" / "registry.json").write_text(content)
    with pytest.raises(DataError, match=r"registry\.json"):
        registry.aliases()


_SET = """
import sys
from headrace.components.registry.folder.registry import Registry
registry = Registry(sys.argv[1])
for number in range(15):
    registry.set_aliases({f"{sys.argv[2]}-{number}": "v1"})
"""


def test_processes_that_set_aliases_at_a_time_lose_none(tmp_path: Path) -> None:
    folder = str(tmp_path / "registry")
    Registry(folder).register(make_model(tmp_path / "model", "v1"))
    writers = [subprocess.Popen([sys.executable, "-c", _SET, folder, name]) for name in ("a", "b", "c")]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    assert sorted(Registry(folder).aliases()) == sorted(f"{name}-{n}" for name in "abc" for n in range(15))


_VERSIONS = st.sampled_from(["v1", "v2", "v3"])
_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("register"), _VERSIONS),
        st.tuples(st.just("promote"), _VERSIONS),
        st.tuples(st.just("challenge"), st.one_of(st.none(), _VERSIONS)),
    ),
    max_size=12,
)


@max_examples(15)
@given(steps=_STEPS)
def test_any_sequence_of_calls_keeps_what_a_dictionary_would(steps: list[tuple[str, str | None]]) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        models = {version: make_model(root / version, version) for version in ("v1", "v2", "v3")}
        registry = Registry(str(root / "registry"))
        versions: set[str] = set()
        aliases: dict[str, str] = {}
        for step, version in steps:
            if step == "register" and version is not None:
                registry.register(models[version])
                versions.add(version)
            elif version is not None and version not in versions:
                with pytest.raises(UsageError):
                    registry.promote(version) if step == "promote" else registry.set_aliases({"challenger": version})
            elif step == "promote" and version is not None:
                registry.promote(version)
                if aliases.get("champion") != version:
                    if "champion" in aliases:
                        aliases["previous"] = aliases["champion"]
                    aliases["champion"] = version
                    if aliases.get("challenger") == version:
                        del aliases["challenger"]
            else:
                registry.set_aliases({"challenger": version})
                aliases.pop("challenger", None)
                if version is not None:
                    aliases["challenger"] = version
            assert registry.versions() == sorted(versions)
            assert registry.aliases() == aliases
            assert aliases.get("champion", "") != aliases.get("previous")


def test_a_rerun_that_registers_a_bad_version_ends_with_status_3(tmp_path: Path) -> None:
    registry, root = Registry(str(tmp_path / "registry")), str(tmp_path / "root")
    model = SimpleNamespace(path=make_model(tmp_path / "model", "v2"))
    evaluation = SimpleNamespace(path=make_evaluation(tmp_path / "evaluation", "v2"))
    registry.promote(registry.register(make_model(tmp_path / "first", "v1")))
    assert step.run(registry.folder, root, model, evaluation) == registry.path("v2")
    registry.mark_bad("v2", why="predicts nonsense")
    for call in (
        lambda: step.run(registry.folder, root, model, evaluation),
        lambda: step.champion(registry.folder, root, "v2"),
    ):
        with pytest.raises(SystemExit) as ended:
            call()
        assert ended.value.code == 3
    record = read_record(root, "register", identity.publish_identity("register", "v2", registry.folder))
    assert record is not None
    assert (record["error"]["kind"], record["error"]["what"]) == ("GateRefused", "the version is marked as bad")
    assert "predicts nonsense" in record["error"]["received"]
    assert registry.aliases() == {"champion": "v1"}
    assert step.champion(registry.folder, root)[0] == registry.path("v1")


def test_a_version_that_a_canary_decides_about_is_not_the_champion(tmp_path: Path) -> None:
    registry, root = Registry(str(tmp_path / "registry")), str(tmp_path / "root")
    for version, champion in (("v1", "v1"), ("v2", "v1"), ("v3", "v1")):
        model = SimpleNamespace(path=make_model(tmp_path / version, version))
        evaluation = SimpleNamespace(path=make_evaluation(tmp_path / f"{version}-evaluation", version))
        assert step.run(registry.folder, root, model, evaluation, promote=False) == registry.path(version)
        # The first one is: nothing is there to compare it with.
        assert registry.aliases() == {"champion": champion}


@pytest.mark.parametrize(("refused", "error"), REFUSED)
def test_a_run_that_may_not_begin_registers_nothing(
    tmp_path: Path, refused: Callable[[str], Claim], error: str
) -> None:
    claim, root = refused(str(tmp_path / "ledger")), str(tmp_path / "root")
    model = SimpleNamespace(path=make_model(tmp_path / "model", "v1"))
    evaluation = SimpleNamespace(path=make_evaluation(tmp_path / "evaluation", "v1"))
    registry = str(tmp_path / "registry")
    with pytest.raises(SystemExit):
        step.run(registry, root, model, evaluation, claim.to_json())
    record = read_record(root, "register", identity.publish_identity("register", "v1", registry))
    assert record is not None
    assert record["error"]["what"] == error
    assert not Path(registry).exists()


def test_a_registration_whose_run_is_overtaken_meanwhile_is_not_recorded(tmp_path: Path) -> None:
    claim = ended(str(tmp_path / "ledger"))
    registry = Registry(str(tmp_path / "registry"), claim=claim)
    with pytest.raises(Overtaken):
        registry.register(make_model(tmp_path / "model", "v1"))
    assert (registry.versions(), registry.state().epoch) == ([], 0)
