"""From jobs to finished rows: what is to be run, where, at what price, and how far it is."""
