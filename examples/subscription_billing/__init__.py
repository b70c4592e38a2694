"""Subscriptions that are billed each month."""
