"""Monitoring: skew, drift, metrics on late labels and staleness of a model's requests, by window of time."""
