"""Serves a Model version over the Open Inference Protocol and a plain predict call."""
