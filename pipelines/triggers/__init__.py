"""Triggers of dynamic training: each adds an event as a data version to the inbox, and calls the pump."""
