"""Transfer's SQL, and nowhere else. The caller of a function owns the transaction."""
