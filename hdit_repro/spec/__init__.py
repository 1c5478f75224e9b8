"""What a run is: frozen, typed values, and every name that a job file may use. No torch."""
