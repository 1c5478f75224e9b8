"""From records, ledger and counted costs to tables and figures. No torch; matplotlib only where used."""
