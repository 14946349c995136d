"""Models of a scorer: folded from model events, loaded beside the model in use, checked, and switched to."""
