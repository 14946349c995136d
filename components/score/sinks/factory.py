"""Sink factory: creates the sink of an output format."""

from __future__ import annotations

from typing import get_args

from headrace.components.score.config import SinkName
from headrace.components.score.sinks.sink import Sink
from headrace.core.artifacts.predictions import AnswerForm
from headrace.core.errors import UsageError
from headrace.core.prediction_table.layout import TableDescription


def sink_of(
    name: SinkName,
    *,
    key: str | None,
    table: str = "",
    form: AnswerForm | None = None,
    about: TableDescription | None = None,
) -> Sink:
    """Creates the sink of a name. The modules of a format are imported only if it is used.

    Args:
        name: one of SINKS.
        key: the column that identifies a row; None without such a column.
        table: bigquery://PROJECT.DATASET.TABLE, for that sink.
        form, about: of a prediction table: the form of answers to requests, and what the predictions are.

    Raises:
        UsageError: the name is not a sink, or the sink needs a key.
    """
    if name == "parquet":
        from headrace.components.score.sinks.parquet_sink import ParquetSink

        return ParquetSink(key)
    if name == "csv":
        from headrace.components.score.sinks.csv_sink import CsvSink

        return CsvSink(key)
    if name == "jsonl":
        from headrace.components.score.sinks.jsonl_sink import JsonLinesSink

        return JsonLinesSink(key)
    if name == "bigquery":
        from headrace.components.score.sinks.bigquery_sink import BigQuerySink

        return BigQuerySink(key, table)
    if name == "table":
        if key is None or form is None or about is None:
            raise UsageError(
                "a prediction table needs a key", where="--key", expected="a column that identifies each row"
            )
        from headrace.components.score.sinks.table_sink import TableSink

        return TableSink(form, about)
    raise UsageError("the sink is wrong", expected=f"one of {', '.join(get_args(SinkName))}", received=repr(name))
