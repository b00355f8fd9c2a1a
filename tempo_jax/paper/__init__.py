"""TEMPO as published (arXiv 2511.05510): its drift, update and loss."""
