"""Models of a scorer: chosen by model events, loaded in the background, checked, and switched between batches."""
