"""Request log: a sample of the rows that a server predicted, in bounded files, for replay and monitoring."""
