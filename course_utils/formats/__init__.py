"""Checks of form that a program can make: house e-mails, ticket JSON, legal answers."""
