"""The mailer: its Lambda entry, one file for each channel, and what the messages report."""
