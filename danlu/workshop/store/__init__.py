"""Dataset versions on the disk: records, manifest and ledger, and the store that holds them."""
