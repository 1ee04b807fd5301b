"""A tutor for the terminal: hints one by one, the answer last. Practice, or a problem of one's own.

`session` is the tutor itself, a pure state machine; `running` joins it with screen, store and bank.
"""
