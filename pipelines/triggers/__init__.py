"""Triggers of dynamic training: each turns an event into a data version in the inbox, and calls the pump."""
