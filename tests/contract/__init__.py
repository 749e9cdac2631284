"""One suite over every implementation of a device, the fakes and the real ones."""
