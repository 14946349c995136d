"""Forecasts of time and cost, from a description of the machine and measured steps."""
