"""Rules and models: documents in, compiled objects and artifacts out; imports nothing of ours."""
