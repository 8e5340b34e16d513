"""What people read of a record: the footer, `claims.md`, the page and its figures."""
