"""SavedModels and rows to score."""

from support.saved_models import natality_model, rows_of_fixture, save

__all__ = ["natality_model", "rows_of_fixture", "save"]
