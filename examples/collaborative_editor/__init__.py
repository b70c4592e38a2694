"""A text editor for several people, on a CRDT."""
