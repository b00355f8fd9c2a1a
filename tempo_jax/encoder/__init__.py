"""The spatiotemporal encoder (paper section 4)."""
