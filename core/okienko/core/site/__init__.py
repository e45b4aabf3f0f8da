"""Pages for people: identity administrators, and holders of accounts who follow a link. Server-rendered, without JavaScript."""
