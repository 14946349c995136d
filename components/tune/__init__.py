"""Searches for the parameters of training whose model has the least loss: Examples to the best trial's Model."""
