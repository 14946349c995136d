"""Clients of Google Cloud that several components share, and the errors of those services."""
