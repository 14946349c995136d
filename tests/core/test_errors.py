"""The error tree: paragraphs, exit statuses, and the way from one process to another."""

import pytest

from headrace.core import errors
from headrace.core.errors import (
    DataError,
    GateRefused,
    HeadraceError,
    PlatformError,
    ProblemError,
    UsageError,
    exhausted,
)


def test_paragraph_says_what_where_expected_received_and_what_to_do() -> None:
    error = DataError("the column is missing", where="a.csv", expected="b", received="c", fix="Add it")
    assert error.paragraph == "a.csv: the column is missing. Expected b. Received: c. Add it."
    assert str(error) == error.paragraph


def test_paragraph_leaves_out_what_is_not_known() -> None:
    assert UsageError("the path is empty").paragraph == "the path is empty."


@pytest.mark.parametrize(
    ("kind", "status"), [(ProblemError, 2), (DataError, 2), (UsageError, 2), (GateRefused, 3), (PlatformError, 75)]
)
def test_exit_status_by_kind(kind: type[HeadraceError], status: int) -> None:
    assert kind("x").exit_status == status


@pytest.mark.parametrize("kind", [ProblemError, DataError, UsageError, GateRefused, PlatformError])
def test_an_error_survives_json(kind: type[HeadraceError]) -> None:
    error = kind("w", where="here", expected="e", received="r", fix="f")
    again = HeadraceError.from_json(error.to_json())
    assert type(again) is kind
    assert again.paragraph == error.paragraph


def test_an_unknown_kind_is_the_platforms_fault() -> None:
    assert isinstance(HeadraceError.from_json({"kind": "Novel", "what": "w"}), PlatformError)


def test_at_keeps_the_more_exact_place() -> None:
    assert DataError("w").at("there").where == "there"
    assert DataError("w", where="here").at("there").where == "here"


def test_every_public_error_is_in_the_tree_at_the_head_of_the_module() -> None:
    kinds = [
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    ]
    assert errors.__doc__ is not None
    assert [name for name in kinds if name not in errors.__doc__] == []


def test_a_very_long_value_is_shown_by_its_beginning_and_its_end() -> None:
    received = "a" + "b" * 200_000 + "c"
    error = UsageError("the names are wrong", where="--names", received=received)
    assert len(error.text) < 2_500
    assert "Received: abb" in error.text
    assert "bbc (200,002 characters)." in error.text
    assert HeadraceError.from_json(error.to_json()).received == received
    assert len(UsageError("no column", table=[["column", "seen"], [received, "text"]]).text) < 6_000


def test_half_of_a_surrogate_pair_is_written_as_its_number() -> None:
    error = UsageError("no column", where="\ud800", received="x", table=[["column"], ["\udfff"]])
    assert error.text.encode() == b"\\ud800: no column. Received: x.\n\n  column\n  \\udfff"


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("ResourceExhaustedError: /a/b.tmp; No space left on device"), "the disk is full"),
        (RuntimeError("OOM when allocating tensor with shape[8,1048576]"), "there is not enough memory"),
        (MemoryError(), "there is not enough memory"),
        (OSError(13, "Permission denied"), ""),
    ],
)
def test_a_full_disk_or_memory_by_its_message(error: Exception, what: str) -> None:
    found = exhausted(error)
    if not what:
        assert found is None
        return
    assert found is not None
    assert (found.exit_status, found.what) == (75, what)
    assert found.received == (str(error) or "MemoryError")
