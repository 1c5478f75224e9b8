"""What is measured, and against whom: README.md."""
