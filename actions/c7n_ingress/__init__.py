"""Cloud Custodian actions that take the open internet out of security groups' ingress rules."""
