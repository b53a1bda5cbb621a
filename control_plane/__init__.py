"""The thin control plane: people, data, training, registry, approvals, releases, audit queries."""
