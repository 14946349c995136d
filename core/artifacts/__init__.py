"""Readers and writers of the artifacts that steps pass on: Examples, Model, Predictions, quarantine, budgets."""
