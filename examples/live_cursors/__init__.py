"""Cursors of several people on one canvas, and what they draw."""
