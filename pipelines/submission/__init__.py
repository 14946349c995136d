"""Submission of compiled pipelines to a remote platform: runs, schedules, progress, cancellation and logs."""
