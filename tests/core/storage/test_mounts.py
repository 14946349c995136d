"""Buckets that are mounted as folders."""

from __future__ import annotations

from pathlib import Path

import pytest

from headrace.core.errors import UsageError
from headrace.core.storage.compare_and_set import create_if_absent
from headrace.core.storage.mounts import mounted_bucket

TABLE = """\
overlay / overlay rw,relatime 0 0
gcsfuse /gcs fuse.gcsfuse rw,nosuid,nodev 0 0
tmpfs /gcs/local tmpfs rw 0 0
bucket /with\\040space fuse.s3fs rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/gcs/bucket/registry", "fuse.gcsfuse"),
        ("/gcs", "fuse.gcsfuse"),
        ("/gcsx/registry", None),
        ("/gcs/local/registry", None),
        ("/with space/registry", "fuse.s3fs"),
        ("/home/registry", None),
    ],
)
def test_the_innermost_mount_decides(tmp_path: Path, path: str, kind: str | None) -> None:
    table = tmp_path / "mounts"
    table.write_text(TABLE)
    assert mounted_bucket(Path(path), table) == kind
    assert mounted_bucket(Path(path), tmp_path / "absent") is None


def test_state_in_a_mounted_bucket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "mounts"
    table.write_text(f"gcsfuse {tmp_path}/gcs fuse.gcsfuse rw 0 0\n")
    monkeypatch.setattr(mounted_bucket, "__defaults__", (table,))
    with pytest.raises(UsageError, match=r"mounted bucket.*gs://"):
        create_if_absent(f"{tmp_path}/gcs/bucket/state.json", b"{}")
    assert not (tmp_path / "gcs").exists()
    assert create_if_absent(f"{tmp_path}/disk/state.json", b"{}")
