"""Beam runners: which one runs a job, its options, its counters, and how its jobs are followed."""
