"""Platforms that a compiled pipeline runs on, behind one interface."""
