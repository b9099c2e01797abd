"""The command line: one file per command, with its help, its arguments and its body."""
