"""Release documents and how they become compiled endpoints."""
