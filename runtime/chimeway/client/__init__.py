"""The producers' and readers' side: trigger, signal, identify, explain, cancel, inbox."""
