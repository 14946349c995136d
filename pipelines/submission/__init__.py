"""Compiled pipelines on a platform of someone else: submitted once, scheduled, followed, cancelled, and their logs."""
