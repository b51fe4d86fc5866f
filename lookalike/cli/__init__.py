"""The command line: one module a verb, each a thin call into the rooms."""
