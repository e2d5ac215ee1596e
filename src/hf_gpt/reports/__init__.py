"""Records, and what is made of them: cards, pictures, lines in a terminal."""
