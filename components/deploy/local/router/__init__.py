"""Router of a local endpoint: a permanent address in front of the processes of its versions."""
