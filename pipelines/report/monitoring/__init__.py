"""Monitoring page: what `headrace monitor` measured, over time."""
