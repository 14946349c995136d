"""Stream scoring on Pub/Sub, with Beam: on this machine or on Dataflow."""
