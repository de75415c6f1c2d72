"""InferenceService to Deployment, Service, autoscaler, disruption budget and network policy."""
