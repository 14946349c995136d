"""Kafka edge of stream scoring: a consumer group that scores records at least once, with confluent-kafka."""
