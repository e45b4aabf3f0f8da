"""Reset actions: proposed, approved by enough different people, cooled down, executed once, or stopped."""
