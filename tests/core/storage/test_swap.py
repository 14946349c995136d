"""Two folders change places, with and without the help of the system."""

import ctypes
from pathlib import Path

import pytest

from headrace.core.storage.swap import aside, swap_folders


@pytest.mark.parametrize("helped", [True, False])
def test_folders_change_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, helped: bool) -> None:
    if not helped:
        monkeypatch.setattr(ctypes, "CDLL", lambda _: object())
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    swap_folders(tmp_path / "one", tmp_path / "other")
    assert (tmp_path / "one" / "file").read_text() == "other"
    assert (tmp_path / "other" / "file").read_text() == "one"
    assert not aside(tmp_path / "other").exists()
