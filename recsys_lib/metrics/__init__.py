"""How good recommendations are: AUC, nDCG and others, user by user, with intervals."""
