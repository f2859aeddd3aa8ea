"""Where the policies run."""
