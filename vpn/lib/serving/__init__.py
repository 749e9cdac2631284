"""What the hub serves over HTTP, in a process of its own beside the daemon."""
