"""The Holdfast server: runs durable actors and serves them over gRPC."""
