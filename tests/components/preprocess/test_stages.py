"""The stages without Beam: what a runner may do to them - another order, a second try - changes nothing."""

from __future__ import annotations

import dataclasses
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.components.preprocess import stages
from headrace.components.preprocess.accounts import (
    Account,
    Piece,
    Refusal,
    ShardAccount,
    read_duplicates,
    read_summary,
    write_summary,
)
from headrace.components.preprocess.stage_context import PreprocessContext, rows_per_batch
from headrace.core.problem.file import load_problem
from headrace.core.rows.splits import Sharding
from headrace.core.sources.open import list_parts

EXAMPLE = Path(__file__).parents[3] / "examples" / "natality"
PROBLEM = load_problem(str(EXAMPLE / "natality.py")).problem


def make_job(folder: Path) -> PreprocessContext:
    (folder / ".work").mkdir(parents=True)
    return PreprocessContext(PROBLEM, Sharding(PROBLEM.splits, (3, 1, 1)), str(folder), batch_rows=100)


def run(context: PreprocessContext, seed: int, tries: int = 1) -> dict[str, bytes]:
    """All stages, with what lies between them shuffled."""
    shuffled = random.Random(seed)
    batches = [rows for part in list_parts(str(EXAMPLE)) for rows in stages.read_batches(context, part)]
    shuffled.shuffle(batches)
    accounts: list[Account] = []
    pieces: dict[int, list[Piece]] = {}
    for rows in batches:
        for _ in range(tries):
            results = list(stages.split_batch(context, rows))
        for result in results:
            if isinstance(result, tuple):
                pieces.setdefault(result[0], []).append(result[1])
            else:
                accounts.append(result)
    for shard in shuffled.sample(sorted(pieces), len(pieces)):
        shuffled.shuffle(pieces[shard])
        for _ in range(tries):
            (account,) = stages.write_shard(context, shard, pieces[shard])
        accounts.append(account)
    shuffled.shuffle(accounts)
    write_summary(context, accounts)
    root = Path(context.output)
    return {str(path.relative_to(root)): path.read_bytes() for path in root.glob("**/*") if path.is_file()}


def test_order_and_second_tries_change_no_byte(tmp_path: Path) -> None:
    first = run(make_job(tmp_path / "first"), seed=1)
    assert len([name for name in first if name.endswith(".tfrecord")]) == 5
    assert run(make_job(tmp_path / "other"), seed=2) == first
    assert run(make_job(tmp_path / "retried"), seed=3, tries=2) == first


def test_errors_travel_in_the_order_of_rows(tmp_path: Path) -> None:
    context = make_job(tmp_path)
    refusals = [Refusal((1, 5), {"what": "late"}), Refusal((0, 9), {"what": "early"})]
    write_summary(context, refusals)
    summary = read_summary(context)
    assert [error["what"] for error in summary.errors] == ["early", "late"]
    assert (summary.statistics, summary.shards, summary.rows) == (None, {}, {})
    (rows,) = stages.split_batch(context, refusals[0])
    assert rows is refusals[0]


def test_a_work_folder_that_is_gone_is_an_error_and_no_crash(tmp_path: Path) -> None:
    context = make_job(tmp_path / "job")
    rows = next(stages.read_batches(context, list_parts(str(EXAMPLE))[0]))
    (tmp_path / "job" / ".work").rmdir()
    (refusal,) = stages.split_batch(context, rows)
    assert isinstance(refusal, Refusal)
    assert refusal.error["kind"] == "PlatformError"
    assert refusal.position == (0, 1)
    (missing,) = stages.write_shard(context, 0, [Piece((0, 1), str(tmp_path / "none.arrow"), 0)])
    assert isinstance(missing, Refusal)


@pytest.mark.parametrize("rows", [0, 1, 1449])
@pytest.mark.parametrize("fingerprints", ["of their keys", "all equal", "not kept"])
def test_a_key_keeps_its_first_row(
    tmp_path: Path, rows: int, fingerprints: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = make_job(tmp_path / "job")
    if fingerprints == "all equal":
        monkeypatch.setattr(stages, "fingerprint", lambda keys: np.zeros(len(keys), np.uint64))
    elif fingerprints == "not kept":
        # The rows go through the runner.
        context = dataclasses.replace(context, spills=False)
    header, *lines = (EXAMPLE / "births.csv").read_text().splitlines()
    (tmp_path / "twice.csv").write_text("\n".join([header, *lines, *lines[:rows]]))
    pieces: dict[int, list[Piece]] = {}
    for part in list_parts(str(tmp_path / "twice.csv")):
        for batch in stages.read_batches(context, part):
            for result in stages.split_batch(context, batch):
                if isinstance(result, tuple):
                    pieces.setdefault(result[0], []).append(result[1])
    accounts = [account for shard, of in pieces.items() for account in stages.write_shard(context, shard, of)]
    assert sum(account.written.rows for account in accounts if isinstance(account, ShardAccount)) == 1449
    found = read_duplicates(context)
    good = [number for number in range(1, rows + 1) if number != 1118]
    assert found["row"].to_pylist() == [1450 + number for number in good]
    assert found["first_row"].to_pylist() == good


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 63), st.booleans())
def test_equal_fingerprints_are_found(numbers: list[int], kept: int, low: bool) -> None:
    # Few bits of them differ, so that many share a place.
    mask = (1 << kept) - 1
    prints = np.array([number & (mask if low else mask << (64 - kept)) for number in numbers], np.uint64)
    assert stages._any_equal(prints) == (len(set(prints.tolist())) < len(prints))


@pytest.mark.parametrize(
    ("columns", "rows"), [(0, 65_536), (1, 65_536), (16, 65_536), (17, 61_680), (32, 32_768), (5000, 32_768)]
)
def test_a_batch_has_about_a_million_values(columns: int, rows: int) -> None:
    assert rows_per_batch(columns) == rows
