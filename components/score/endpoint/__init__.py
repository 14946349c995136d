"""Batch scoring by requests to an online endpoint."""
