"""Stream scoring: predicts records as they arrive, with models that model events name."""
