"""Runs the launchers of google-cloud-pipeline-components one after another in one process, whose imports take seconds.

It reads a container's command as a JSON list a line, and answers each with its status and the last that it said. What
of the launchers is redirected says redirect/sitecustomize.py; `launchers.py` starts this process.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback

_ANSWER = "answer: "


def run(command: list[str]) -> tuple[int, str]:
    """A command `python3 -u -m MODULE ARGUMENTS`, within this process."""
    module = command[command.index("-m") + 1]
    sys.argv = [module, *command[command.index("-m") + 2 :]]
    try:
        runpy.run_module(module, run_name="__main__")
    except SystemExit as ended:
        status = 0 if ended.code is None else ended.code if isinstance(ended.code, int) else 1
        return status, str(ended.code)
    except Exception:
        return 1, traceback.format_exc()[-1500:]
    return 0, ""


def main() -> None:
    """Answers until nobody asks any more."""
    # What launchers print themselves is no answer.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(f"{_ANSWER}{json.dumps(run(json.loads(line)))}\n")
        answers.flush()


if __name__ == "__main__":
    main()
