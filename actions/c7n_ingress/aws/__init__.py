"""Everything that calls AWS: read, apply, journal and notify, in the order of ``run``."""
