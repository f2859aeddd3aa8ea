"""All that asks AWS, changes it, and tells people: read, apply, journal, tell; and the way that leads through them."""
