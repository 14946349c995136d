"""Training: fits the default wide and deep model, or the user's model, to Examples on the available hardware."""
