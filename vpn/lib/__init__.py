"""The library: ``wireguard``, ``registry``, ``hub`` and ``component``, in layers that import one way."""
