"""Stand-ins for what the library talks to: stateful, with the real errors, strict on what they do not know."""
