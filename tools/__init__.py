"""What a person starts: one thin module a command. Heavy imports wait until a command runs."""
