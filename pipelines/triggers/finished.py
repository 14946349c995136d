"""Finished files: whether any process of this machine still has a file open for writing.

Linux grants a read lease only on a file that nobody has open for writing, so asking for one and giving it back tells.
Network file systems, other operating systems and files of other users do not tell.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import signal


def is_being_written(path: str) -> bool | None:
    """Whether a process has the file open for writing; None where the system does not tell."""
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
