"""Rules of other tools to our JSON form; every difference in meaning is reported or refused."""
