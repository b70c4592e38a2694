"""A chat in the browser: React, RivetKit's hooks, and actors in Python."""
