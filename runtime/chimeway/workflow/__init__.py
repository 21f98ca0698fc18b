"""What a journey is: definitions, their validation, durations and conditions. Pure."""
