"""Open Inference Protocol v2 over REST, with the extensions that its usual clients need."""
