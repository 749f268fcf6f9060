"""Serves ASGI applications over HTTP/1.1, within limits of connections, time and size."""
