"""Loads of spans and dead letters into BigQuery, by jobs whose ids depend on the window, so that none runs twice."""

from __future__ import annotations

import pyarrow as pa

from headrace.components.messages.config import MessagesConfig
from headrace.components.messages.dead_letters import FIELDS
from headrace.components.messages.spans import schema_of
from headrace.core.sources.bigquery_load import create_table, load_once


def create_tables(config: MessagesConfig) -> None:
    """Creates missing tables, and checks the columns of existing ones. Raises the errors of `create_table`."""
    if config.table:
        kinds = {pa.float64(): "FLOAT", pa.string(): "STRING"}
        create_table(config.table, [(field.name, kinds[field.type]) for field in schema_of(config.columns)], "--table")
    if config.dead_letter_table:
        fields = [(name, "TIMESTAMP" if name == "published" else "STRING") for name in FIELDS]
        create_table(config.dead_letter_table, fields, "--dead-letter-table")


def load_span(config: MessagesConfig, span: str) -> bool:
    """Loads the file of a span; returns False if an earlier call loaded it. Raises the errors of `load_once`."""
    return load_once(config.table, f"headrace-{config.stream}-{span}", config.span_uri(span))


def load_dead_letters(config: MessagesConfig, uri: str, parquet: bytes) -> bool:
    """Loads dead letters; returns False if an earlier call loaded them. Raises the errors of `load_once`.

    Args:
        config: names the table.
        uri: URI of their file; its name is part of the job's id.
        parquet: content of the file, as Parquet.
    """
    name = uri.rpartition("/")[2].removesuffix(".jsonl")
    return load_once(config.dead_letter_table, f"headrace-{config.stream}-dead-{name}", parquet)
