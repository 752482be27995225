"""Commands, configuration, datasets, metrics and the demo."""
