"""Stream scoring on Pub/Sub, by Beam: on this machine, and on Dataflow."""
