"""Scores a topic with Quix Streams, as its documentation has it: a function for each record of a StreamingDataFrame.

Usage: stream_quix.py BROKER GROUP RECORDS PREDICTIONS MODEL_FOLDER
"""

import sys

from quixstreams import Application
from serve_peers import load


def main():
    broker, group, records, predictions, folder = sys.argv[1:]
    predict = load(folder)
    app = Application(
        broker_address=broker,
        consumer_group=group,
        auto_offset_reset="earliest",
        auto_create_topics=False,
        use_changelog_topics=False,
        loglevel="WARNING",
        consumer_extra_config={"fetch.wait.max.ms": 5},
    )
    source = app.topic(records, value_deserializer="json", key_deserializer="bytes")
    target = app.topic(predictions, value_serializer="json", key_serializer="bytes")
    app.dataframe(source).apply(lambda row: predict([row])[0]).to_topic(target)
    app.run()


if __name__ == "__main__":
    main()
