"""The exit task: what happened in a run, written down whatever happened."""
