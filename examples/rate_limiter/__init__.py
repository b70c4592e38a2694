"""A rate limiter, sharded by key."""
