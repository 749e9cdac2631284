"""The hub: its settings, the commands on its peers, and the daemon that keeps ``wg0`` as it should be."""
