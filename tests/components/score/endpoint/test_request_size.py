"""How many rows a request may have."""

from __future__ import annotations

import pytest

from headrace.components.score.endpoint.request_size import RequestSize


@pytest.mark.parametrize(("allowed", "rows"), [(1, 1), (47, 47), (48, 48), (95, 48), (1000, 960)])
def test_as_many_whole_blocks_as_are_allowed(allowed: int, rows: int) -> None:
    assert RequestSize(allowed, 1 << 20).rows == rows


def test_rows_are_filled_up_to_whole_blocks_where_so_many_are_allowed() -> None:
    size = RequestSize(100, 1 << 20)
    assert [size.filled(rows) for rows in (1, 47, 48, 49, 96)] == [48, 48, 48, 96, 96]
    assert RequestSize(30, 1 << 20).filled(20) == 20


def test_what_rows_took_says_how_many_fit() -> None:
    size = RequestSize(960, 10_000)
    assert [size.next(2000), size.next(100)] == [960, 100]
    assert not size.fits(960, 96_000)
    # A hundred bytes a row: a hundred rows, of which two blocks are whole; what is left is not cut.
    assert [size.next(2000), size.next(100), size.next(99)] == [96, 100, 99]
    assert size.fits(96, 96 * 50)
    assert size.next(2000) == 192
    assert not size.fits(1, 20_000)
    assert size.next(2000) == 1


def test_a_size_that_was_refused_is_halved_for_good_and_once_for_all_that_were_under_way() -> None:
    size = RequestSize(960, 100_000)
    assert size.fits(960, 96_000)
    for _ in range(4):
        size.lower(96_000)
    assert size.next(2000) == 480
    assert size.fits(480, 48_000)
    assert not size.fits(481, 48_100)
    size.lower(100_000)
    assert size.next(2000) == 480
