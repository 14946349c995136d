"""Ledger of dynamic training: which data versions came, which run is under way, and what became of each."""
