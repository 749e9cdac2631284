"""The real images on the real engine, used as their users use them."""
