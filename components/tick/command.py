"""Runs a `headrace` command in a process: components cannot import the pipelines package."""

from __future__ import annotations

import subprocess
import sys

from headrace.core.errors import PlatformError, UsageError

# A platform responds within seconds; otherwise its client stops after some minutes.
_SECONDS = 900.0
_SHOWN = 2000


def headrace(*words: str) -> str:
    """Runs `headrace`, and returns the last 2,000 characters of its output.

    Args:
        words: the command and its arguments.

    Raises:
        UsageError: the command ended with exit status 2.
        PlatformError: it ended with another status, or did not end within 15 minutes.
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
