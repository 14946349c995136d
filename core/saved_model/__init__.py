"""SavedModels: found, loaded, and bound to columns and JSON."""
