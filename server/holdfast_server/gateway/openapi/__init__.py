"""What the gateway serves, as an OpenAPI document."""
