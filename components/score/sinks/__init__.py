"""Where predictions go: files of several formats, a table of BigQuery, or a table to look keys up in."""
