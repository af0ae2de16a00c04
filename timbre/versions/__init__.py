"""What a commit or the work tree holds, as tables."""
