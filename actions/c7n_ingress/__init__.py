"""Cloud Custodian actions and filters that close security groups that are open to the internet."""
