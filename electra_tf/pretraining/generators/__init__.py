"""What fills masked positions: one class a kind of generator."""
