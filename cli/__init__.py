"""The command line: parse, one engine call, one show call."""
