"""An artifact is swapped in whole; what is not ours, or holds an input, is refused, however it is named."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from pathlib import Path

import pytest
from support.users_files import check_users_files_stay

from headrace.core.artifacts.kinds import (
    ENDPOINT,
    EVALUATION,
    EXAMPLES,
    LOG,
    MODEL,
    MONITORING,
    PREDICTIONS,
    PUBLISHED,
    QUARANTINE,
    REGISTRY,
    REPORT,
    ROOT,
    SPEC,
)
from headrace.core.errors import UsageError
from headrace.core.storage.output import check_writable, publishing
from headrace.core.storage.output_check import Artifact, Kind, check_output

ARTIFACTS = (EXAMPLES, MODEL, EVALUATION, MONITORING, PREDICTIONS, QUARANTINE)
# What lists files, by kind.
LISTED: dict[str, dict[str, object]] = {
    "Examples": {
        "splits": {name: {"shards": [{"file": f"{name}/part-0.tfrecord"}]} for name in ("train", "eval", "test")},
        "quarantine": {"files": ["quarantine/part-0.jsonl", "appended/00001/quarantine/part-0.jsonl"]},
        "sketches": [{"file": "sketches/keys.u64"}],
        "spans": [{"span": "7"}],
    },
    "Model": {"files": ["problem.json", "saved_model/saved_model.pb", "saved_model/variables/variables.index"]},
    "Evaluation": {},
    "Monitoring": {},
    "Predictions": {
        "files": [{"file": "day=1/part-0.csv"}, {"file": "table/predictions.table"}],
        "quarantine": {"files": ["quarantine/part-0.jsonl"]},
    },
    "Quarantine": {"quarantine": {"files": ["quarantine/part-0.jsonl"]}},
}
FOLDERS = (*ARTIFACTS, REGISTRY, ENDPOINT, PUBLISHED)


def write(folder: Path, kind: Artifact, **more: object) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / kind.manifest).write_text(json.dumps({"kind": kind.kind, **more}))
    return folder


def refusal(output: Path | str, kind: Kind, **inputs: str) -> str:
    with pytest.raises(UsageError) as caught:
        check_output(str(output), kind, inputs={f"--{name}": uri for name, uri in inputs.items()})
    assert "\n" not in caught.value.paragraph
    return caught.value.paragraph


def test_publishing_shows_nothing_when_it_fails(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), publishing(str(tmp_path / "out"), MODEL) as folder:
        (folder / "half").write_text("x")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_publishing_replaces_an_artifact_of_its_kind_and_keeps_it_until_then(tmp_path: Path, kind: Artifact) -> None:
    target = tmp_path / "out"
    target.mkdir()
    for version in range(3):
        with publishing(str(target), kind) as folder:
            write(folder, kind, version=version)
            if version:
                assert json.loads((target / kind.manifest).read_text())["version"] == version - 1
        assert json.loads((target / kind.manifest).read_text())["version"] == version
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_came_there_meanwhile_is_not_removed(tmp_path: Path) -> None:
    target = tmp_path / "out"
    with (
        pytest.raises(UsageError, match="the output already holds something else"),
        publishing(str(target), MODEL) as folder,
    ):
        write(folder, MODEL)
        target.mkdir()
        (target / "thesis.txt").write_text("years")
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["out", "out/thesis.txt"]


def test_a_link_to_an_artifact_stays_a_link(tmp_path: Path) -> None:
    target = write(tmp_path / "disk" / "model", MODEL, version=1)
    (tmp_path / "link").symlink_to(target)
    check_writable(str(tmp_path / "link"))
    with publishing(str(tmp_path / "link"), MODEL) as folder:
        write(folder, MODEL, version=2)
    assert (tmp_path / "link").is_symlink()
    assert json.loads((target / "training.json").read_text())["version"] == 2
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["disk", "link", "model", "training.json"]


@pytest.mark.parametrize("kind", FOLDERS)
def test_new_and_empty_places_are_accepted(tmp_path: Path, kind: Kind) -> None:
    check_output(str(tmp_path / "new" / "deep"), kind)
    check_output(str(tmp_path), kind)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ARTIFACTS)
@pytest.mark.parametrize("other", ARTIFACTS)
def test_an_artifact_is_replaced_only_by_its_own_kind(tmp_path: Path, kind: Artifact, other: Artifact) -> None:
    write(tmp_path / "out", other)
    if kind is other:
        check_output(str(tmp_path / "out"), kind)
    else:
        assert "written by headrace. Received: " in refusal(tmp_path / "out", kind)


@pytest.mark.parametrize("kind", ARTIFACTS)
@pytest.mark.parametrize("content", ["", "null", "[]", "{", "{}", '{"kind": "model"}', "\ud800", "[" * 100_000])
def test_a_manifest_that_does_not_say_so_is_the_users(tmp_path: Path, kind: Artifact, content: str) -> None:
    (tmp_path / kind.manifest).write_bytes(content.encode("utf-8", "surrogatepass"))
    assert "written by headrace" in refusal(tmp_path, kind)


@pytest.mark.parametrize("kind", ARTIFACTS)
def test_a_file_of_the_users_in_any_folder_of_an_artifact_keeps_it(tmp_path: Path, kind: Artifact) -> None:
    folder = write(tmp_path / "out", kind, **LISTED[kind.kind])
    if kind is EXAMPLES:
        write(folder / "spans" / "7", kind, **{**LISTED[kind.kind], "spans": []})
    for name in (*kind.entries, *kind.listed(str(folder), {"kind": kind.kind, **LISTED[kind.kind]})):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.name != kind.manifest:
            path.touch()
    for name in kind.folders:
        (folder / name).mkdir(exist_ok=True)
    check_users_files_stay(folder, kind)
    (folder / "thesis.txt").write_text("years")
    assert "Received: also thesis.txt." in refusal(folder, kind)


def test_the_rows_of_a_window_are_not_files_of_its_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "out", EXAMPLES, **LISTED["Examples"], files_in=str(tmp_path / "spans"))
    check_output(str(folder), EXAMPLES)
    (folder / "train").mkdir()
    (folder / "train" / "part-0.tfrecord").touch()
    assert "Received: also train/part-0.tfrecord." in refusal(folder, EXAMPLES)


@pytest.mark.parametrize("kind", ARTIFACTS)
@pytest.mark.parametrize("wrong", [5, "x", None, [5], [["x"]], [{"x": 1}], {"x": 1}, {"files": 5, "shards": "x"}])
def test_a_manifest_with_other_values_lists_nothing(tmp_path: Path, kind: Artifact, wrong: object) -> None:
    folder = write(tmp_path / "out", kind, files=wrong, quarantine=wrong, splits=wrong, sketches=wrong, spans=wrong)
    check_output(str(folder), kind)
    (folder / "thesis.txt").touch()
    assert "Received: also thesis.txt." in refusal(folder, kind)


@pytest.mark.parametrize("kind", [REGISTRY, ENDPOINT, PUBLISHED])
def test_a_folder_of_states_that_was_begun_is_one_and_another_is_not(tmp_path: Path, kind: Kind) -> None:
    (tmp_path / "versions").mkdir()
    assert "Received: versions." in refusal(tmp_path, kind)
    (tmp_path / ".lock").touch()
    check_output(str(tmp_path), kind)
    (tmp_path / "thesis.txt").touch()
    assert "Received: thesis.txt." in refusal(tmp_path, kind)


def test_a_folder_that_another_process_makes_at_this_moment_is_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    exists = Path.exists
    for look in ("is_dir", "exists"):
        # Absent at the first look at it, and there at the next.
        monkeypatch.setattr(Path, look, lambda path: (path.mkdir() and False) if not exists(path) else True)
        assert REGISTRY.foreign(str(tmp_path / look)) is None


def test_a_root_may_hold_other_things_but_be_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "rows.csv").touch()
    check_output(str(tmp_path), ROOT, inputs={"--data": str(tmp_path / "rows.csv")})
    assert "the output equals --data" in refusal(tmp_path, ROOT, data=str(tmp_path))
    assert "Received: a file." in refusal(tmp_path / "rows.csv", ROOT)
    for kind in ARTIFACTS:
        assert f"Received: {kind.manifest}." in refusal(write(tmp_path / kind.kind, kind), ROOT)


@pytest.mark.parametrize(
    "data",
    [
        "in",
        "in/",
        "in/rows.csv",
        "in/*.csv",
        "**/rows.csv",
        "link",
        "link/rows.csv",
        "file link",
        "other/../in",
        "deep/a/b/../../../in",
        "in/sub",
    ],
)
@pytest.mark.parametrize("output", ["in", "in/", "./in", "link", "other/../in", "deep/up/in", "file://{}/in"])
def test_no_name_of_the_input_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, data: str, output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # It is an artifact of ours, and only what is read keeps it.
    write(tmp_path / "in", PREDICTIONS, files=["rows.csv", "sub"])
    (tmp_path / "in" / "rows.csv").touch()
    for folder in ("in/sub", "other", "deep/a/b"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "link").symlink_to("in")
    (tmp_path / "file link").symlink_to("in/rows.csv")
    (tmp_path / "deep" / "up").symlink_to(tmp_path)
    check_output(output.format(tmp_path), PREDICTIONS, inputs={"--data": "other"})
    assert "the output equals or contains --data" in refusal(output.format(tmp_path), PREDICTIONS, data=data)


@pytest.mark.parametrize("output", [".", "..", "./", "../", "../here", "below/..", "/", "file://.", "up"])
def test_the_working_folder_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str) -> None:
    (tmp_path / "here" / "below").mkdir(parents=True)
    (tmp_path / "here" / "up").symlink_to("..")
    monkeypatch.chdir(tmp_path / "here")
    for kind in ARTIFACTS:
        assert "the output equals or contains the working folder" in refusal(output, kind)


def test_what_is_not_there_yet_is_kept_too(tmp_path: Path) -> None:
    checkpoints = str(tmp_path / "model" / "checkpoints")
    assert "contains --checkpoints" in refusal(tmp_path / "model", MODEL, checkpoints=checkpoints)
    check_output(str(tmp_path / "model"), MODEL, inputs={"--checkpoints": f"{tmp_path}/model.checkpoints"})
    check_output(str(tmp_path / "model"), MODEL, inputs={"--data": "bigquery://p.d.t", "--model": "gs://b/m"})


@pytest.mark.parametrize("kind", [SPEC, REPORT, LOG])
def test_files(tmp_path: Path, kind: Kind) -> None:
    path = tmp_path / "file"
    check_output(str(path), kind)
    path.touch()
    check_output(str(path), kind)
    path.write_text("thesis")
    assert "Received: another file." in refusal(path, kind)
    assert "Received: a folder." in refusal(tmp_path, kind)
    assert "Received: a device." in refusal("/dev/null", kind)
    assert "the path is empty" in refusal("", kind)


def test_whatever_path_leads_to_the_input_or_above_it_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "paths"
    (root / "a" / "b").mkdir(parents=True)
    (root / "a" / "link").symlink_to("b")
    (root / "a" / "up").symlink_to("..")
    (root / "a" / "loop").symlink_to("loop")
    data = root / "a" / "b" / "rows.csv"
    data.touch()
    for parts in itertools.chain.from_iterable(
        itertools.product(["..", ".", "a", "b", "link", "up", "loop"], repeat=length) for length in range(1, 5)
    ):
        output = os.path.join(root, *parts)  # noqa: PTH118
        real = Path(os.path.realpath(output))
        taken = real in (data, *data.parents) or (real.is_dir() and any(real.iterdir()))
        with pytest.raises(UsageError) if taken else contextlib.nullcontext():
            check_output(output, EXAMPLES, inputs={"--data": str(data)})
