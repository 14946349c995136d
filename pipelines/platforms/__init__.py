"""The platforms that a compiled pipeline runs on, behind one interface."""
