"""Validation: a version on a snapshot, as four reports with gates that block approval."""
