"""The machine of make test-kernel, without the machine."""
