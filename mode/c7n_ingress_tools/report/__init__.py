"""A report to forward: one HTML page that needs nothing else, with a CSV and a JSON file beside it."""
