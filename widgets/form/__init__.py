"""Forms made from a protocol's parameters, and the wizard."""
