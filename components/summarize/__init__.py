"""Run summary: the exit task that writes what happened in a run, whatever its outcome."""
