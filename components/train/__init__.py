"""Examples -> Model: the default wide and deep model or the user's own, on the hardware that is there."""
