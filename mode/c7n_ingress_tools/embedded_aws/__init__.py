"""AWS on this machine: moto, and what EC2, Config, DynamoDB, Logs, SQS and Systems Manager do that moto does not."""
