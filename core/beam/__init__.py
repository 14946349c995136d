"""Beam runners: their options, job launch, counters, and the translation of their errors."""
