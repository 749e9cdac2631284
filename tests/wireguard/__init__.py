"""Tests of vpn/lib/wireguard."""
