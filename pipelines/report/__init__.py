"""Run report: one self-contained page from the run's summary and its artifacts."""
