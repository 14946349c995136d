"""Dynamic training: settings, arrivals of data, and runs."""
