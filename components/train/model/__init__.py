"""Models to train: the default wide and deep model or the user's model, its loss, warm start and export."""
