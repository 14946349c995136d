"""Command line of headrace, as components call it: they know no pipelines."""

from __future__ import annotations

import subprocess
import sys

from headrace.core.errors import PlatformError, UsageError

# The platform answers in seconds, or its client gives up after some minutes.
_SECONDS = 900.0
_SHOWN = 2000


def headrace(*words: str) -> str:
    """Calls `headrace`, and returns the end of what it printed.

    Args:
        words: the command and its arguments.

    Raises:
        UsageError: the command refused its arguments, or what it found there.
        PlatformError: it failed in another way, or does not end.
    """
    # -P: a folder `headrace` in the working folder must not be imported.
    command = [sys.executable, "-P", "-m", "headrace", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PlatformError("the tick does not end", received=f"nothing within {_SECONDS:g} s") from error
    except OSError as error:
        raise PlatformError("the tick does not start", received=str(error)) from error
    if done.returncode:
        failed = UsageError if done.returncode == UsageError.exit_status else PlatformError
        raise failed("the tick failed", received=done.stderr.strip()[-_SHOWN:] or f"exit status {done.returncode}")
    return done.stdout.strip()[-_SHOWN:]
