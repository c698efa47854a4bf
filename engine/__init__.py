"""Everything that runs without a screen: numerics below, workflow above."""
