//! Gateway: composes the five services into the way of a request.
