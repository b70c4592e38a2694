"""Many calls, connections and subscriptions over one stream: SessionService."""
