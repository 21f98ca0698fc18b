"""HTTP in the daemon: for now the door for what providers tell later, and whether we live."""
