"""Compliance setup: twelve sections as data, answered by the system and by people, and scored."""
