"""Finished files: whether any process of this machine still has a file open for writing.

Linux grants a read lease only on a file that no process has open for writing. A lease is requested, and released at
once. On network file systems, on other operating systems and for files of other users it is not known.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal


def is_being_written(path: str) -> bool | None:
    """Whether a process has the file open for writing; None where it is not known."""
    if not hasattr(fcntl, "F_SETLEASE"):
        return None
    try:
        file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        # The kernel notifies the holder of a lease when somebody opens the file. The default signal would end this
        # process, and SIGURG is ignored.
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
