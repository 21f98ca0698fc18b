"""Who does it: actors, their roster, the timekeeper, the listener, ownership."""
