"""Rows to Examples: sources, validation, splits and the Beam pipeline that writes an Examples artifact."""
