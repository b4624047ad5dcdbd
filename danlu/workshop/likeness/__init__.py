"""How like one another texts are: exact joins, ROUGE-L, shingles, vectors; right for Chinese."""
