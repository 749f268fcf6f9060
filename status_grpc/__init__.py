"""Follow an asynchronous pipeline to its end."""

from status_grpc._version import __version__

__all__ = ["__version__"]
