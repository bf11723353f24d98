"""The command line: one file per command. What a command says can be had as JSON wherever programs read it."""
