"""The version of a SavedModel that names none is that of every file in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from headrace.core.saved_model.digest import saved_model_digest

FILES = {
    "saved_model.pb": b"graph",
    "fingerprint.pb": b"print",
    "variables/variables.index": b"index",
    "variables/variables.data-00000-of-00001": b"weights",
    "assets/vocabulary.txt": b"a\nb\n",
    "assets/tables/cities.txt": b"Rome\n",
    "assets.extra/tf_serving_warmup_requests": b"requests",
    "keras_metadata.pb": b"metadata",
    "assets/.hidden": b"h",
}


def write(folder: Path, files: dict[str, bytes]) -> str:
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("name", FILES)
def test_each_file_changes_the_digest(tmp_path: Path, name: str) -> None:
    digests = {
        saved_model_digest(write(tmp_path / number, files))
        for number, files in (
            ("as it is", FILES),
            ("another content", {**FILES, name: b"another"}),
            ("absent", {n: c for n, c in FILES.items() if n != name}),
            ("elsewhere", {f"{n}.moved" if n == name else n: c for n, c in FILES.items()}),
        )
    }
    assert len(digests) == 4
    assert saved_model_digest(write(tmp_path / "the same", FILES)) in digests


def test_a_linked_folder_is_read_once(tmp_path: Path) -> None:
    folder = Path(write(tmp_path / "model", {n: c for n, c in FILES.items() if not n.startswith("assets/")}))
    assets = tmp_path / "volume"
    write(assets, {"vocabulary.txt": b"a\n"})
    (folder / "assets").symlink_to(assets)
    (assets / "back").symlink_to(folder)
    before = saved_model_digest(str(folder))
    (assets / "vocabulary.txt").write_bytes(b"b\n")
    assert saved_model_digest(str(folder)) != before


def test_an_asset_in_a_bucket_changes_the_digest(put: Callable[[str, bytes], str]) -> None:
    for name, content in FILES.items():
        uri = put(f"model/{name}", content)
    folder = uri[: uri.index("/model/")] + "/model"
    before = saved_model_digest(folder)
    put("model/assets/tables/cities.txt", b"Oslo\n")
    assert saved_model_digest(folder) != before
