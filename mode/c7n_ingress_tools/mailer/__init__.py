"""How people are told: c7n-mailer's configuration, its Lambda entry, and the messages."""
