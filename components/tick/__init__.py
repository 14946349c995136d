"""Tick of dynamic training as a task of a scheduled pipeline."""
