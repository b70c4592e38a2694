"""Chat rooms that remember, an audit log and statistics."""
