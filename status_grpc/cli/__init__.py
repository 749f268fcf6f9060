"""The command line: a file per group of commands, each imported when it is called."""
