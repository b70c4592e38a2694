"""Reminders that ring once, or every day at a time of the user's own zone."""
