"""What makes one dataset version of another: import, dedup, select, mix, split, edit, export."""
