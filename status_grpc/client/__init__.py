"""The client library: what pipeline steps report with, and what those who wait follow with.

Nothing is imported until it is asked for: `import status_grpc` costs a step no gRPC.
"""
