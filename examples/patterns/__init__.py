"""Four ways to divide work among actors."""
