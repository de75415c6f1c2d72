"""TrainingJob to Indexed Job and headless Service: a run that makes one version of a Model."""
