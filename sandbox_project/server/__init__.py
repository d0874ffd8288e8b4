"""The command ``serve`` of every site of the sandbox, and how to start it as a process."""
