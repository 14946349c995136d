"""Dynamic training: settings, arrivals of data, and the runs that follow from them."""
