"""AWS on this machine: moto, and what EC2, Config, DynamoDB, Logs and SQS do that moto does not."""
