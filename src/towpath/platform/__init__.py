"""What every service stands on: settings, database, https, dial, guard, errors, logs, secrets."""
