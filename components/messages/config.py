"""Options of a messages trigger: the subscription, the windows, and the destinations of spans and dead letters."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from headrace.components.messages.columns import MESSAGE_ID, MessageColumn
from headrace.components.messages.decode import Decoder
from headrace.core.beam.windows import Windows
from headrace.core.checks import check_count
from headrace.core.cloud.pubsub import check_subscription
from headrace.core.errors import UsageError
from headrace.core.storage import join

# The name of a message attribute, within Pub/Sub's limits.
_ATTRIBUTE = re.compile(r"[^\x00-\x1f]{1,256}\Z")
_STREAM = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}\Z")
# The name of a BigQuery column that needs no quoting in SQL.
_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,299}\Z")


@dataclass(frozen=True)
class MessagesConfig:
    """Options of a messages trigger.

    Args:
        stream: name of the stream, such as the Problem's: 1 to 64 letters, digits, - and _. Part of load jobs' ids.
        subscription: projects/PROJECT/subscriptions/NAME. Only one job may read it.
        output: URI of the stream's folder, for spans/ and dead-letters/; no other stream may use it.
        columns: columns of spans, one or more.
        windows: windows of time.
        id_attribute, time_attribute: as of `Decoder`.
        duplicates_seconds: seconds for which the id of a message is remembered across windows, 1 to 86,400; used only
            with `id_attribute`. The span of a window contains a message once, however late it is repeated.
        settle_seconds: seconds that a window whose time is over stays open after its last message, 0 to 86,400. 0 uses
            only the runner's watermark.
        table: bigquery://PROJECT.DATASET.TABLE that spans are loaded into; "" loads none.
        dead_letter_table: bigquery://PROJECT.DATASET.TABLE that dead letters are loaded into; "" loads none.

    Raises:
        UsageError: a value is not valid.
    """

    stream: str
    subscription: str
    output: str
    columns: tuple[MessageColumn, ...]
    windows: Windows = field(default_factory=Windows)
    id_attribute: str = ""
    time_attribute: str = ""
    duplicates_seconds: int = 600
    settle_seconds: int = 0
    table: str = ""
    dead_letter_table: str = ""

    def __post_init__(self) -> None:
        where = "messages"
        if not _STREAM.match(self.stream):
            raise UsageError(
                "the name of the stream is not valid",
                where=where,
                expected="1 to 64 letters, digits, - and _, starting with a letter",
                received=repr(self.stream),
            )
        check_subscription(self.subscription)
        if not self.output:
            raise UsageError("the output is empty", where="--output", expected="a folder, or gs://...")
        for name in ("id_attribute", "time_attribute"):
            value = getattr(self, name)
            if value and not _ATTRIBUTE.match(value):
                raise UsageError(f"{name} is not valid", where=where, expected="the name of an attribute")
        check_count(self.duplicates_seconds, "duplicates_seconds", minimum=1, maximum=86_400, where=where)
        check_count(self.settle_seconds, "settle_seconds", minimum=0, maximum=86_400, where=where)
        if not self.columns:
            raise UsageError("the columns are missing", where=where, expected="columns of a Problem")
        for option, table in (("--table", self.table), ("--dead-letter-table", self.dead_letter_table)):
            if table:
                from headrace.core.sources.bigquery_load import check_table

                check_table(table, option)
        if self.table and self.table == self.dead_letter_table:
            raise UsageError("spans and dead letters need tables of their own", where="--dead-letter-table")
        wrong = [column.name for column in self.columns if not _PLAIN.match(column.name)] if self.table else []
        if wrong:
            raise UsageError(
                "a column cannot be loaded into BigQuery under its name",
                where="--table",
                expected="letters, digits and _",
                received=", ".join(wrong),
                fix="Leave out --table, or publish the field under another name",
            )

    @property
    def decoder(self) -> Decoder:
        """The decoder of its messages."""
        return Decoder(self.columns, self.windows, self.id_attribute, self.time_attribute)

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns of spans: the messages' ids, then the Problem's columns."""
        return (MESSAGE_ID, *(column.name for column in self.columns))

    @property
    def spans(self) -> str:
        """URI of the folder of spans."""
        return join(self.output, "spans")

    @property
    def dead_letters(self) -> str:
        """URI of the folder of dead letters."""
        return join(self.output, "dead-letters")

    @property
    def pending(self) -> str:
        """URI of the file that lists the spans for which training was not requested yet."""
        return join(self.output, "pending.json")

    def span_uri(self, span: str) -> str:
        """URI of a span."""
        return join(self.spans, f"{span}.parquet")
