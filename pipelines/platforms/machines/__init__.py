"""Machines that the options of a platform may request."""
