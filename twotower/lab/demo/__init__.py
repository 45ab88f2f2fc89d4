"""A page to click: recommendations of a run for any user under any head."""
