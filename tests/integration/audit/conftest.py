"""Fixtures of the audit tests."""

from tests.spool import settings, source, start_shipper

__all__ = ["settings", "source", "start_shipper"]
