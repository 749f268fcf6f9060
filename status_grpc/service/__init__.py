"""The use cases, in domain types: no gRPC, no HTTP, no SQL."""
