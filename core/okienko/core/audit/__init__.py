"""The audit: who did what, to what, why and from where, in a chain that shows every later change; see docs/audit.md.

chain.py    the arithmetic            entries.py  what is audited
log.py      appending                 verify.py   checking
anchor.py   the end, signed, in files daily.py    what happens by itself
keyring.py  master and signing keys   keys.py     which keyring belongs to the database
vault.py    personal data under keys of its case; erasure.py destroys both
"""
