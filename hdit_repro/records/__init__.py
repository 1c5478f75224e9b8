"""What was measured, how, and where it lies. No torch."""
