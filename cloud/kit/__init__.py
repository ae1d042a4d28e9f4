"""What knows no domain: database, migrations, tokens, problems, idempotency, pagination, events, logs, metrics."""
