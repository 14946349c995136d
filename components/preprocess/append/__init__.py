"""Spans and appended rows of Examples that grow."""
