"""An agent that streams its answers, uses tools and remembers."""
