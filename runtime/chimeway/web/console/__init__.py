"""The operators' pages: what runs, what waits, what failed, and why. Drawn by the node."""
