"""The task `language`: text -> corpus -> network -> fit -> evaluate -> publication."""
