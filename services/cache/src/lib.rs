//! Cache: answers seen before, exact and close in meaning.
