"""Raw molecular dynamics -> store."""
