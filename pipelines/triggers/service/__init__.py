"""HTTP service that triggers dynamic training, for Cloud Run, App Engine and your own machine."""
