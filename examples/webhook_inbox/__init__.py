"""An inbox of webhooks, inside a web application."""
