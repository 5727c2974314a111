"""The command line: a lazy click group whose subcommands (modes) come from plugins."""
