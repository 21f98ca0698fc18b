"""HTTP in the daemon: the door for what providers tell later, for who wants no more, and whether we live."""
