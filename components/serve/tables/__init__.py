"""Static and hybrid modes: answers from a table of predictions by key, with or without a model behind it."""
