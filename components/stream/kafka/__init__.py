"""Stream scoring on Kafka: a consumer group that scores records at least once, with confluent-kafka."""
