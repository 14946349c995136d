"""Conclusion of a run of dynamic training, its exit task: what became of its data versions, and its summary."""
