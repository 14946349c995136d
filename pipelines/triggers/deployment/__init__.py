"""Deployment of triggers on Google Cloud: the folder that is deployed, and the commands of its set-up."""
