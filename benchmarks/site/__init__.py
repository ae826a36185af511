"""What makes the documentation's site: its examples run, its pictures drawn, its tables written, its pages made ready for MkDocs."""
