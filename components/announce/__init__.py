"""Announcements of promotions and rollbacks, as model events, to files, Pub/Sub, Kafka and webhooks."""
