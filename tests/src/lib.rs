//! The mesh as its users see it, in both topologies.
