"""The way to PostgreSQL: sessions, statements, the schema, and what makes a server fit."""
