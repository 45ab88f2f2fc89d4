"""Results to terminal tables, CSV and JSON. No maths here."""
