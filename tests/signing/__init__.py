"""A certificate authority and signers for tests: shaped like the Polish ones, with people who cannot exist."""
