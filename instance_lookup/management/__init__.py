"""Management commands: they parse and print, the work is in modules of its own."""
