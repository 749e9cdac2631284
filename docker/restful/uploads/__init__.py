"""The consortium's upload service: files that components hand to each other through the VPN."""
