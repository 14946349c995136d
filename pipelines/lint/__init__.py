"""What a platform would refuse or silently ignore in a compiled pipeline spec."""
