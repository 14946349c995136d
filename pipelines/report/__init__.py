"""The report of a run: one self-contained page, made from the run's summary and the artifacts that it names."""
