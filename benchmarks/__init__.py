"""Speed of lmmformula against its peers; see README.md."""
