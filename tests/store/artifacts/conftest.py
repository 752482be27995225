"""The commands and a small data set, for plug-ins that run through them."""

from tests.pipeline.conftest import cli, davis_source

__all__ = ["cli", "davis_source"]
