"""Modes of the server: what answers rows, behind one interface."""
