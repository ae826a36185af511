"""What other packages expect of a fit: their protocols and names, each in a module that imports its package when used."""
