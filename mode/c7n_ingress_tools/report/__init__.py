"""A report that one forwards: one HTML page that needs nothing else, with a CSV and a JSON file beside it."""
