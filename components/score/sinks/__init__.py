"""Sinks: output formats of predictions, as files of several formats, a BigQuery table or a prediction table."""
