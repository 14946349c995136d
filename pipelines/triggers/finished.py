"""Finished files: whether a process of this machine has a file open for writing.

Linux grants a read lease only on a file that no process has open for writing. A lease is requested, and released at
once. On network file systems, on other operating systems and for files of other users, the result is unknown.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal


def is_being_written(path: str) -> bool | None:
    """Whether a process has the file open for writing; None if it is unknown."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The kernel notifies the holder of a lease when a process opens the file. The default signal would end this
        # process; SIGURG is ignored.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        return True if error.errno == errno.EAGAIN else None
    else:
        return False
    finally:
        with contextlib.suppress(OSError):
            fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
        os.close(file)
