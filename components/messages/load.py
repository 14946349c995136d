"""Loads of spans and dead letters into BigQuery, by jobs whose ids are made of the window."""

from __future__ import annotations

import pyarrow as pa

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.dead_letters import FIELDS
from headrace.components.messages.spans import schema_of
from headrace.core.sources.bigquery_load import create_table, load_once


def create_tables(config: MessagesConfig) -> None:
    """Creates the tables that do not exist, and checks the columns of those that do; errors as of `create_table`."""
    if config.table:
        kinds = {pa.float64(): "FLOAT", pa.string(): "STRING"}
        create_table(config.table, [(field.name, kinds[field.type]) for field in schema_of(config.columns)], "--table")
    if config.dead_letter_table:
        fields = [(name, "TIMESTAMP" if name == "published" else "STRING") for name in FIELDS]
        create_table(config.dead_letter_table, fields, "--dead-letter-table")


def load_span(config: MessagesConfig, span: str) -> bool:
    """Loads the file of a span; returns whether this call did, and not an earlier one; errors as of `load_once`."""
    return load_once(config.table, f"headrace-{config.stream}-{span}", config.span_uri(span))


def load_dead_letters(config: MessagesConfig, uri: str, parquet: bytes) -> bool:
    """Loads dead letters; returns and errors as of `load_span`.

    Args:
        config: names the table.
        uri: of their file, whose name makes the job's id.
        parquet: its content as Parquet.
    """
    name = uri.rpartition("/")[2].removesuffix(".jsonl")
    return load_once(config.dead_letter_table, f"headrace-{config.stream}-dead-{name}", parquet)
