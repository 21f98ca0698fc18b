"""The only room that knows the database driver: verbs and no opinions."""
