"""Decisions. Pure: no AWS, no Cloud Custodian."""
