"""The only place where plan meets ssh: observe, plan, write down, claim, execute, record."""
