"""Messages: Pub/Sub messages, aggregated in windows of time into spans of data, for dynamic training."""
