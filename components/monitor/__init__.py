"""Monitoring: skew, drift, metrics of late labels and staleness of a model's requests, window by window."""
