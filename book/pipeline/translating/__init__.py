"""What there is to translate, what is wrong with a translation, and what is missing."""
