"""Progress output of a step from a shell: progress on stderr, results on stdout, output of libraries in a log."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console
from rich.markup import escape
from rich.status import Status

from headrace.core import storage
from headrace.core.artifacts.kinds import LOG, LOG_HEADER
from headrace.core.progress import Progress

# Without a terminal, minimum seconds between two progress lines.
_SECONDS_BETWEEN_LINES = 10.0


@contextmanager
def showing(name: str, output: str = "") -> Iterator[tuple[Console, Progress]]:
    """Shows progress on stderr; output of libraries, from Python or C++, goes to a log file next to the output.

    Args:
        name: of the step.
        output: of the step; "" if it writes nothing.

    Yields:
        The console for results, and the listener of progress.
    """
    # The log is written through file descriptors, so it is local even if the output is remote.
    here = bool(output) and not storage.is_remote(output)
    local = output if here else storage.join(tempfile.mkdtemp(prefix="headrace-"), name)
    log = storage.sibling(local, ".log")
    if LOG.foreign(log) is not None:
        # Another file has the log's name.
        log = storage.join(tempfile.mkdtemp(prefix="headrace-"), f"{name}.log")
    with storage.writing(log):
        storage.local_path(log).parent.mkdir(parents=True, exist_ok=True)
        chatter = storage.local_path(log).open("wb")
        chatter.write(LOG_HEADER)
        chatter.flush()
    with (
        chatter,
        os.fdopen(os.dup(1), "w", encoding="utf-8") as stdout,
        os.fdopen(os.dup(2), "w", encoding="utf-8") as stderr,
    ):
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(chatter.fileno(), 1)
        os.dup2(chatter.fileno(), 2)
        try:
            shown = Console(file=stderr, highlight=False, soft_wrap=True)
            printed = time.monotonic()
            with Status(f"{name} ...", console=shown) as status:

                def report(
                    message: str, *, done: int | None = None, total: int | None = None, lasting: bool = False
                ) -> None:
                    nonlocal printed
                    share = f" ({done / total:.0%})" if done is not None and total and not lasting else ""
                    if lasting or (not shown.is_terminal and time.monotonic() - printed >= _SECONDS_BETWEEN_LINES):
                        printed = time.monotonic()
                        shown.print(f"{name}: {message}{share}", markup=False)
                    elif shown.is_terminal:
                        # Brackets are text here, not markup.
                        status.update(escape(f"{name}: {message}{share}"))

                yield Console(file=stdout, highlight=False, soft_wrap=True), report
        except Exception as error:
            error.add_note(f"Log: {log}")
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            stdout.flush()
            os.dup2(stdout.fileno(), 1)
            os.dup2(stderr.fileno(), 2)
            # Processes of a cluster on one machine share the log, and another one may have removed it.
            with suppress(FileNotFoundError):
                if storage.local_path(log).stat().st_size <= len(LOG_HEADER):
                    storage.local_path(log).unlink()
