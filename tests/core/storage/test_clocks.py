"""Clocks: moments of a machine's monotonic clock, and the time of a store, alike on a disk, on gs:// and on s3://."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict
from pathlib import Path

import pytest

from headrace.core import storage
from headrace.core.errors import PlatformError
from headrace.core.storage import clocks
from headrace.core.storage.clocks import Moment, store_clock


def test_a_moment_is_of_one_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = [1000.0]
    monkeypatch.setattr(clocks, "monotonic", lambda: seconds[0])
    begun, end = Moment.now(), Moment.now(3600.0)
    seconds[0] = 1060.0
    assert (begun.passed_s(), end.passed_s()) == (60.0, -3540.0)
    assert Moment("another machine", begun.at).passed_s() is None


def test_another_process_of_the_machine_can_compare_it() -> None:
    """Its clock is the same one."""
    program = (
        "import json, sys; from headrace.core.storage.clocks import Moment; "
        "print(json.dumps(Moment(**json.loads(sys.argv[1])).passed_s()))"
    )
    begun = Moment.now()
    passed = json.loads(
        subprocess.run(
            [sys.executable, "-c", program, json.dumps(asdict(begun))], check=True, capture_output=True, text=True
        ).stdout
    )
    now = begun.passed_s()
    assert now is not None
    assert 0.0 < passed < now


def test_the_time_is_that_of_the_store_and_nothing_is_left_there(store: str, tmp_path: Path) -> None:
    for folder in (str(tmp_path), store, f"{store}/folder"):
        before = time.time()
        # All are on this machine. Stores tell whole seconds.
        assert before - 1.0 <= store_clock(folder) <= time.time() + 0.1
        assert storage.files_below(folder) == {}


def test_a_folder_that_does_not_exist_has_no_clock(tmp_path: Path) -> None:
    with pytest.raises(PlatformError, match="the path cannot be written"):
        store_clock(str(tmp_path / "missing"))
