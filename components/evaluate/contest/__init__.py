"""Contest of a challenger with the champion, on rows that neither has seen."""
