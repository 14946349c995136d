"""manifest.json of Examples that tests write by hand."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from headrace.core.artifacts.examples import SPLITS, Manifest, Quarantine, Shard, SourceFile, Split

IDENTITY = "fedcba9876543210"


def write_manifest(
    folder: Path,
    shards: Mapping[str, Mapping[str, int]] | None = None,
    *,
    problem: str = "problem",
    schema_digest: str = "0" * 64,
    identity: str = IDENTITY,
) -> None:
    """Writes the manifest of Examples.

    Args:
        folder: of the Examples, with all shards in it.
        shards: rows by file, by split; a split that is not named is empty.
        problem, schema_digest, identity: see Manifest.
    """
    splits = {}
    for name in SPLITS:
        files = (shards or {}).get(name, {})
        listed = tuple(Shard(file, rows, (folder / file).stat().st_size, "00000000") for file, rows in files.items())
        splits[name] = Split(sum(files.values()), listed)
    rows = sum(split.rows for split in splits.values())
    source = (SourceFile("rows.csv", 0, rows),)
    quarantine = Quarantine(0.01, {}, ())
    Manifest(identity, problem, schema_digest, "d" * 16, source, rows, rows, 0, splits, quarantine).write(str(folder))


def without_split(folder: Path, name: str) -> None:
    """Makes a split of Examples empty."""
    manifest = Manifest.read(str(folder))
    splits = {
        split: {shard.file: shard.rows for shard in found.shards}
        for split, found in manifest.splits.items()
        if split != name
    }
    digest = manifest.schema_digest
    write_manifest(folder, splits, problem=manifest.problem, schema_digest=digest, identity=manifest.identity)
