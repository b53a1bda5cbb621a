"""What an edit of a rule table changes: regions of requests whose outcome is another."""
