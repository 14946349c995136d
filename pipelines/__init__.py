"""Pipelines: what is compiled, the platforms it runs on, and the `headrace` command."""
