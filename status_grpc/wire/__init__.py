"""Between protobuf messages and domain values, for the server and the client alike."""
