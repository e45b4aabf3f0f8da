"""What the connectors of LDAP directories share. No plugin by itself."""
