"""The `headrace` command in this process: what it prints and its exit status, without the seconds of a new process."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from subprocess import CompletedProcess
from unittest import mock


def headrace(*arguments: str | Path) -> CompletedProcess[str]:
    """Runs a command from its arguments to its exit status, and shows no progress, which comes by the clock.

    Args:
        arguments: those after `headrace`.

    Returns:
        Its exit status, and all that this process wrote meanwhile, libraries in C++ included.
    """
    from headrace.pipelines.cli import main

    words = ["headrace", *map(str, arguments)]
    status = 0
    with (
        _captured() as captured,
        mock.patch.object(sys, "argv", words),
        mock.patch("headrace.pipelines.commands.progress_output._SECONDS_BETWEEN_LINES", float("inf")),
    ):
        try:
            main()
        except SystemExit as ended:
            status = int(ended.code or 0)
    return CompletedProcess(words, status, *captured)


@contextmanager
def _captured() -> Iterator[list[str]]:
    """Sends both outputs to files, by number too; the list holds what was written once the block has ended."""
    before, texts = (sys.stdout, sys.stderr), list[str]()
    kept = [os.dup(number) for number in (1, 2)]
    with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+", errors="backslashreplace") as stderr:
        for stream in before:
            stream.flush()
        for number, stream in ((1, stdout), (2, stderr)):
            os.dup2(stream.fileno(), number)
        sys.stdout, sys.stderr = stdout, stderr
        try:
            yield texts
        finally:
            sys.stdout, sys.stderr = before
            for number, descriptor in zip((1, 2), kept, strict=True):
                os.dup2(descriptor, number)
                os.close(descriptor)
            for written in (stdout, stderr):
                # The file has one place for all who write to it, whatever this object thinks.
                written.flush()
                written.seek(0)
                texts.append(written.read())
