//! What both backends promise, asked of both.

mod alerts;
mod crashes;
mod random;
mod rules;
mod scores;
mod seeded;
mod topologies;
mod upgrade;
mod world;
