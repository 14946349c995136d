"""Rollback of an endpoint: traffic, the aliases of its registry, and published predictions."""
