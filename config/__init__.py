"""VALUES: typed settings, rules, policy, message templates. What differs from bank to bank."""
