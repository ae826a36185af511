"""What makes the site: examples run, pictures drawn, tables written, pages made ready for MkDocs."""
