"""An identity follows every file that a result depends on."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.steps import identity


@pytest.mark.parametrize("name", ["work.py", "tfrecord/native.c", "tfrecord/crc32c.h", "train/prices.json"])
def test_the_source_digest_follows_each_kind_of_source(tmp_path: Path, name: str) -> None:
    other = tmp_path / "other.py"
    other.write_text("x = 1\n")
    before = identity.source_digest([tmp_path])
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("1")
    made = identity.source_digest([tmp_path])
    path.write_text("2")
    changed = identity.source_digest([tmp_path])
    path.rename(path.with_stem("moved"))
    moved = identity.source_digest([tmp_path])
    assert len({before, made, changed, moved}) == 4


def test_the_source_digest_does_not_follow_what_is_built(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text("x = 1\n")
    before = identity.source_digest([tmp_path])
    (tmp_path / "_native.so").write_bytes(b"1")
    (tmp_path / "work.pyc").write_bytes(b"1")
    assert identity.source_digest([tmp_path]) == before


def test_the_digest_of_a_development_version_is_of_the_packages_that_compute_results() -> None:
    core = Path(identity.__file__).parents[1]
    assert (core / "tfrecord" / "native.c").is_file()
    assert identity.source_digest([core, core.parent / "components"]) in identity.release()
