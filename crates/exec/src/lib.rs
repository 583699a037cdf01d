//! Lowers a graph to a plan, plans its memory, and runs it with a thread team.
