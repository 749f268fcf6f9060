"""The server process: settings, composition, life from start to drain."""
