"""Holdfast: durable actors in Python, and the client that calls them."""
