"""mdCATH -> store."""
