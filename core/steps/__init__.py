"""Pipeline steps: identity (cache key), record, events and exit status."""
