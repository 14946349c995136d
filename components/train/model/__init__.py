"""Models to train: the default wide and deep model or the user's own, its loss, warm start and export."""
