"""Dataset to Job: prepares raw data as a fixed version."""
