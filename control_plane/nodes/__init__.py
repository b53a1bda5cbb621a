"""What the routers report about themselves."""
