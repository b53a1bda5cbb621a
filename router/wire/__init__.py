"""Wire formats: bytes to requests and answers to bytes."""
