"""`c7n-ingress check`: whether the pack works here and in an account, one line for each fact, with the fix."""
