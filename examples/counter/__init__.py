"""The smallest durable actor."""
