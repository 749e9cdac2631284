"""A small virtual machine, emulated in software, whose kernel has WireGuard: for machines whose own has not."""
