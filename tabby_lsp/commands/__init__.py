"""The commands for people, one module each, with `add_parser` and `run`."""
