"""The rehearsal: the real policies run on this machine, on a copy of the user's groups in an embedded AWS."""
