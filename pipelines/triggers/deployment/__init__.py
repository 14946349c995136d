"""Deployment of triggers on Google Cloud: the deployed folder, and the commands that set it up."""
