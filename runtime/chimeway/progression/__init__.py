"""What happens next: a snapshot and a time in, a decision out. Pure."""
