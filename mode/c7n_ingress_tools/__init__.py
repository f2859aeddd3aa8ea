"""The command `c7n-ingress` and what it needs; none of it ships in the policies' Lambda."""
