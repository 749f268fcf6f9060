"""Steps and traces in the code of a pipeline: what is a step, which trace it belongs to, and what it tells."""
