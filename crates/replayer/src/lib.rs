//! Lets an operator look at dead letters, understand them, and replay or discard them.
