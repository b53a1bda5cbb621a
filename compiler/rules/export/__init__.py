"""Checked tables in other languages: SQL, Python, CEL; each difference is reported or refused."""
