"""Layer 8: the command line. Commands parse, call and render; they import the rest of ``kb`` when they run."""
