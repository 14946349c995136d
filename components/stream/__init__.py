"""Stream scoring: predictions on records as they arrive, by models that arrive as events."""
