"""The whole loop on one machine, on an embedded AWS."""
