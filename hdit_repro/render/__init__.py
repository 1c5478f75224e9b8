"""From records, ledger and counted costs to tables and figures. No torch; pandas and matplotlib only where used."""
