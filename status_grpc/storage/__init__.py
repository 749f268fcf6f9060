"""Where traces are kept: tables, transactions, group commit, migrations."""
