"""The Connect protocol over the RPCs of one server."""
