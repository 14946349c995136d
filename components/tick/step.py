"""Tick as a step of a pipeline: by the command line, as components know no pipelines."""

from __future__ import annotations

import subprocess
import sys

from headrace.core.errors import PlatformError, UsageError
from headrace.core.steps import step as steps
from headrace.core.steps.step import running

# The platform answers in seconds, or its client gives up after some minutes.
_SECONDS = 900.0
_SHOWN = 2000


def run(ledger: str, request: bool) -> None:
    """Runs the step; arguments as of `component.tick`.

    Raises:
        UsageError: the ledger or the settings are wrong, or the platform refused the run.
        PlatformError: the platform failed; the next tick tries again.
    """
    with running("tick", root="") as step:
        step.identity = steps.identity("tick", ledger=ledger)
        if request:
            step.progress(_call("dynamic", "request", ledger), lasting=True)
        step.progress(_call("tick", ledger), lasting=True)
        step.finish(outputs={}, result={})


def _call(*words: str) -> str:
    """Calls `headrace`, and returns what it printed."""
    command = [sys.executable, "-m", "headrace.pipelines.cli", *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)
    except subprocess.TimeoutExpired as error:
        raise PlatformError("the tick does not end", received=f"nothing within {_SECONDS:g} s") from error
    if done.returncode:
        failed = UsageError if done.returncode == UsageError.exit_status else PlatformError
        raise failed("the tick failed", received=done.stderr.strip()[-_SHOWN:] or f"exit status {done.returncode}")
    return done.stdout.strip()[-_SHOWN:]
