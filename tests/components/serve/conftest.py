"""SavedModels of others to serve."""

from support.saved_models import save

__all__ = ["save"]
