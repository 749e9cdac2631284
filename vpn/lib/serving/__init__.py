"""What the hub serves over HTTP while it runs: the page and the metrics. Above ``hub``, which does not know it."""
