"""What a trace is and what an event does to it: values and pure functions, standard library only."""
