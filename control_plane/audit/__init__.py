"""The evidence, read: decisions with their explanation, release, model and approvals."""
