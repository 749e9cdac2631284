"""Who is registered on the hub: peers, their addresses, keys and state.

``registry.db`` is the one truth. ``store`` is the interface to it, ``sqlite`` keeps it in a file;
``tree`` is the ``config_peers`` projection, ``takeover`` makes a registry of an older installation.
"""
