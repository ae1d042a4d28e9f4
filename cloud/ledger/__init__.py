"""Who holds what: accounts, journal entries of balanced postings, one hash chain a tenant, and their verifier."""
