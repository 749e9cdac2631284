"""The WireGuard daemons that the central tests run over."""

DAEMONS = ("boringtun", "gotatun", "wireguard-go")
