"""AWS on this machine: moto, and what EC2, Config, Logs and SQS do that moto does not."""
