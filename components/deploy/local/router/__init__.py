"""Router of a local endpoint: one address for life, in front of the processes of its versions."""
