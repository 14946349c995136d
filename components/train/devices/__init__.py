"""Devices and distribution strategies of a training."""
