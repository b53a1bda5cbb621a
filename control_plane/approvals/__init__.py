"""Who may let a model version into service, and the proof that he did."""
