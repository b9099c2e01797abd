"""The command line: one module per command, with its help, its arguments and what it does.

A new command is one more module (see `rlgns.commands.parser.Command`) and one more line in `rlgns.commands.cli`.
"""
