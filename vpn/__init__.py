"""The WireGuard hub of a federated-learning consortium."""
