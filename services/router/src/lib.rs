//! Router: an ordered plan of candidates, with reasons.
