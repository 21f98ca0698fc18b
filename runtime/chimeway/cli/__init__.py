"""The command line: one function a command, grouped by what is asked. It adds no rule of its own."""
