"""Many fits of one structure: many responses, replicates, power, permutations, imputations."""
