"""WireGuard as such: keys, devices, daemons, links. Knows no hub and no type of peer.

``types`` holds what is wanted of a device and what is observed of it, ``plan`` the difference,
``device`` the interface that every implementation offers. ``kernel`` reaches the kernel's device
through generic netlink; ``uapi`` and ``userspace`` reach boringtun, gotatun and wireguard-go
through their sockets; ``daemons`` says how these differ, ``process`` runs them.
"""
