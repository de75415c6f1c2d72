"""Elastic, resumable training of a Dataset version to a Model version."""
