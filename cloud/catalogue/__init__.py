"""Who rewards and on which terms: tenants, merchants, programmes, stores and the policies compiled for them."""
