"""Pure: from what is known of a run to the message that a person gets, or to why there is none."""
