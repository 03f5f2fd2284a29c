"""A provider on loopback that behaves as the name of the model it is asked for says, and keeps a log of its own."""

from tests.provider.server import Provider

__all__ = ["Provider"]
