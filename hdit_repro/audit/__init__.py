"""The audit: every claim of the ledger recomputed from jobs, costs and records. No torch."""

from hdit_repro.audit.findings import Finding as Finding
from hdit_repro.audit.findings import audit as audit

__all__ = ["Finding", "audit"]
