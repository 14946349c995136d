"""Options of a Pub/Sub scorer: the subscription, the model source, and the destinations of results."""

from __future__ import annotations

from dataclasses import dataclass, field

from headrace.components.stream.pubsub.sources import ModelSource
from headrace.core.beam.windows import Windows
from headrace.core.checks import check_count
from headrace.core.cloud.pubsub import check_subscription, check_topic
from headrace.core.errors import UsageError
from headrace.core.model_events.event import APP


@dataclass(frozen=True)
class PubSubConfig:
    """Options of a Pub/Sub scorer.

    Args:
        app: name of the application: 1 to 128 letters, digits, - and _.
        subscription: subscription of the records, projects/PROJECT/subscriptions/NAME.
        dead_letters: topic of records without a prediction, projects/PROJECT/topics/NAME.
        source: source of the model: models in this process, or an endpoint.
        predictions: topic of predictions; "" for none. A topic or a table is required.
        table: bigquery://PROJECT.DATASET.TABLE of predictions; "" for none.
        windows: windows of time; the predictions of a window are loaded into the table by one job.
        settle_seconds: as of `Collect`, 0 to 86,400.
        alarms: topic of alarm events; "" only logs alarms.
        id_attribute: attribute that identifies a record; "" uses Pub/Sub's id.
        duplicates_seconds: seconds for which an id is remembered, 0 to 86,400. Repeated records within this time are
            not scored again; 0 remembers no ids.
        batch_records: maximum records per call of the model, 1 to 100,000. A Beam bundle is one batch or several.

    Raises:
        UsageError: a value is not valid.
    """

    app: str
    subscription: str
    dead_letters: str
    source: ModelSource
    predictions: str = ""
    table: str = ""
    windows: Windows = field(default_factory=Windows)
    settle_seconds: int = 0
    alarms: str = ""
    id_attribute: str = ""
    duplicates_seconds: int = 600
    batch_records: int = 1000

    def __post_init__(self) -> None:
        if not APP.match(self.app):
            raise UsageError(
                "the name of the application is not valid",
                where="--app",
                expected="1 to 128 letters, digits, - and _, starting with a letter",
                received=repr(self.app),
            )
        check_subscription(self.subscription)
        if not self.predictions and not self.table:
            raise UsageError(
                "the destination of predictions is missing",
                where="stream pubsub",
                expected="--prediction-topic TOPIC, --bigquery-table TABLE, or both",
            )
        if self.predictions:
            check_topic(self.predictions, "--prediction-topic")
        if self.table:
            from headrace.core.sources.bigquery_load import check_table

            check_table(self.table, "--bigquery-table")
        check_topic(self.dead_letters, "--dead-letters")
        if self.alarms:
            check_topic(self.alarms, "--alarms")
        topics = [topic for topic in (self.predictions, self.dead_letters, self.alarms) if topic]
        if len(set(topics)) < len(topics):
            raise UsageError(
                "predictions, dead letters and alarms need different topics",
                where="--dead-letters",
                expected="one topic for each",
                received=", ".join(topics),
            )
        check_count(self.settle_seconds, "settle_seconds", minimum=0, maximum=86_400, where="stream")
        check_count(self.duplicates_seconds, "duplicates_seconds", minimum=0, maximum=86_400, where="stream")
        check_count(self.batch_records, "batch_records", maximum=100_000, where="stream")

    @property
    def topics(self) -> dict[str, str]:
        """The topics that it writes, by option."""
        named = {"--prediction-topic": self.predictions, "--dead-letters": self.dead_letters, "--alarms": self.alarms}
        return {option: topic for option, topic in named.items() if topic}
