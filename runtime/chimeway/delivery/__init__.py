"""What leaves: planned deliveries go to channels, attempts and outcomes come back as rows.

`channel` says what a channel is and what it may answer; `channels/` has one file for each of ours.
Nothing here decides what happens next in a journey: that is read from the rows by the engine.
"""
